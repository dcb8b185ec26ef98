"""Every trained network side by side: ``docs/results.md``."""
