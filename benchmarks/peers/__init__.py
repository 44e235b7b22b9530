"""Other projects' updates, timed beside ours at the same widths."""
