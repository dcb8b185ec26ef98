"""Labelled images on disk: layouts, labels, the split by patient."""
