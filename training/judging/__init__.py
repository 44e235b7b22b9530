"""Judging a run: its policy in the environment and beyond, its model on held-out sequences."""
