"""Processes that do what may be costly or hostile, and the pool that shares them."""
