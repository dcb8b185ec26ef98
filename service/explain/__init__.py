"""Explanations and their pictures."""
