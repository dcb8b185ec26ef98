"""Engines: the protocol, the registry, and one module for each engine."""
