"""DIMSE associations in bounds of size and time, for both directions."""
