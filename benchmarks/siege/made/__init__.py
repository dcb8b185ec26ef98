"""Hostile inputs, made in code: bytes that cost whoever reads them without bounds."""
