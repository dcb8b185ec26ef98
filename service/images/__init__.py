"""Images as model inputs, facts and pictures."""
