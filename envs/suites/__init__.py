"""One adapter a suite; each has a `SUITE` (or two) and imports its package when one is made."""
