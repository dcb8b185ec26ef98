"""The gateway over HTTP: STOW-RS, pulling, jobs, health."""
