"""Bundles, manifests and runs."""
