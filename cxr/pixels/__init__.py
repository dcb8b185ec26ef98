"""Decoded images and what every format shares about pixels."""
