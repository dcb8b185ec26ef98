"""From probabilities to a decision, and the decision in words."""
