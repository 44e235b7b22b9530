"""One adapter a suite; each module has a `SUITE` (or two) and imports its package when one is made."""
