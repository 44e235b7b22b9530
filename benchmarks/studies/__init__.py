"""What a study costs beside its runs: the engine, the places they run at, the report."""
