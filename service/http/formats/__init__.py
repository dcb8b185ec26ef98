"""Response formats, one object a media type."""
