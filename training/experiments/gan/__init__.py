"""AC-GAN: class-conditional radiographs, and what they are worth."""
