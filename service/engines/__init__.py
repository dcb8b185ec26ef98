"""What runs a model: the protocol, the registry, one module an engine."""
