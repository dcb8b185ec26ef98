"""From a run directory to a bundle: build, verify, evaluate."""
