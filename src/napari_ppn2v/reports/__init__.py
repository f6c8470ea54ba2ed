"""The report of a run: one page that says what was done and whether to believe it."""
