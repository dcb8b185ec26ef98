"""From a data set to a run directory: train, evaluate, compare."""
