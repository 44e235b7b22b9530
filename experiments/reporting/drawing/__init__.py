"""The figure of a study, panel by panel."""
