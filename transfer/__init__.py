"""What to carry and what it was worth."""
