"""What a run tells: lines of metrics, Weights & Biases, pictures, progress."""
