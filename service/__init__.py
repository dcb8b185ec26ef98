"""The inference service: bundles in, answers over HTTP out. Research use only."""
