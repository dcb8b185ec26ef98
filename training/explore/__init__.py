"""A look at a data set before training: a page of figures and their numbers."""
