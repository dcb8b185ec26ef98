"""Loaded versions of models, and the predictor that reads images with them."""
