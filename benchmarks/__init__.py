"""What is timed, and what is too slow for the tests. Never installed."""
