"""What is served and what it is made from: bundle, manifest, run, and their digests."""
