"""What a person types, and what is told in return."""
