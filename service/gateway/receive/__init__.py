"""The ways in: C-STORE, STOW-RS, studies pulled from an archive."""
