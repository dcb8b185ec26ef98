"""How fast the gateway takes objects in, and how well it keeps the service busy."""
