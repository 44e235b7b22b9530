"""Acting: rows from environments into the replay, beside the learner where that is asked for."""
