"""What a run keeps: replay, checkpoints, its folder on disk."""
