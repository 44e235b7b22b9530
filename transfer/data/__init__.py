"""Data in and out: rows that others collected, to pre-train on, and a run's replay as a dataset."""
