"""Delivery of results and storage commitment reports."""
