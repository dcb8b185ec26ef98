"""Response formats, one module for each media type."""
