"""Response formats: one object for each media type and route, listed in the registry."""
