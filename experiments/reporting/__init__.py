"""What a study found: tables, figure, summary, publication."""
