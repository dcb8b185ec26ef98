"""Search for the best recipe."""
