"""Which trial runs next: proposals, early stopping, order, and what fits in memory now."""
