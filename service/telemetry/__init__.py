"""Logs, metrics, traces and drift."""
