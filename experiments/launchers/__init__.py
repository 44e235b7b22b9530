"""How the runs of a study are carried out."""
