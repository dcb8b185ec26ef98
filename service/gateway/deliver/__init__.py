"""Delivery of results and commitment reports."""
