"""Heatmaps of what a network's answer rests on, and pictures of them."""
