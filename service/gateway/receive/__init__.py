"""Reception by C-STORE, STOW-RS and pull."""
