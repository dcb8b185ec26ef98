"""Engines: protocol, registry and implementations."""
