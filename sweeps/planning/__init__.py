"""From a spec to a plan: every cell with its search space, budget and predicted memory, and all problems found."""
