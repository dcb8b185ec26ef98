"""Receiving: C-STORE, STOW-RS, and studies pulled from an archive."""
