"""AC-GAN: class-conditional radiographs."""
