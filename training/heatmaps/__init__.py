"""Heatmap sheets, and whether heatmaps are faithful."""
