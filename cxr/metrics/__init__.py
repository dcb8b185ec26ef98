"""Figures of a classifier, with confidence intervals."""
