"""From encoded images to results: decoding, batching and the engines. Knows no HTTP."""
