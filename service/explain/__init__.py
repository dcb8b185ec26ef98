"""From a prediction to its explanation: PyTorch, the comparison of answers, the pictures."""
