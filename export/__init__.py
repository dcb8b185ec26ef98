"""From a run directory to a bundle."""
