"""What is around a run and not in its result: device, threads, workers, the wish to stop."""
