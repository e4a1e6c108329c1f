"""How good a policy is on held-out rows: likelihoods, generated answers, and measures of texts."""
