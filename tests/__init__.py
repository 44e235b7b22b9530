"""A package, so that `tests.scripted` is ours: some installed distributions bring a `tests` of their own."""
