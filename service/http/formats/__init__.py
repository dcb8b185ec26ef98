"""Response formats, one module per media type."""
