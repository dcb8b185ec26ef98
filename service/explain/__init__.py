"""Explanations of predictions, and their pictures."""
