"""Hostile inputs at every door of a service and a gateway of its own."""
