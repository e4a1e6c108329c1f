"""How good a policy is on held-out rows: likelihood, written answers, and measures of texts."""
