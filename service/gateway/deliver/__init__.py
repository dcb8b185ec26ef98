"""Results and commitment reports on their way to archives."""
