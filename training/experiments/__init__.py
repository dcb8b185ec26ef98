"""Experiments beside training: AC-GAN, search, a class for ambiguous images."""
