"""What training, export and the service must agree on, and nothing else."""

__version__ = "0.1.0"
