"""What the service costs, measured beside what it could cost at best."""
