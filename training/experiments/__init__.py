"""Experiments beside training."""
