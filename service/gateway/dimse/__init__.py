"""DIMSE associations, accepted and requested."""
