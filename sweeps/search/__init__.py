"""Which trial runs next: proposals, early stopping, the order of trials, and what there is capacity for now."""
