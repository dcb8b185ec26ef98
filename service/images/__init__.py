"""Bytes of an image to model input, facts and pictures."""
