"""Bytes of a file to a radiograph, and a radiograph to the model input."""
