"""The attacks, one file a family."""
