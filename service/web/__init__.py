"""What service and gateway share over HTTP."""
