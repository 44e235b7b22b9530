"""The report as one web page, its figures as files for a paper, and several studies side by side."""
