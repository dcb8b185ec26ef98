"""DIMSE associations with bounds on size and time, accepted and requested."""
