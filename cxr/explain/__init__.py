"""Heatmaps of a network's answers, and pictures of them."""
