"""Samples, splits and made images."""
