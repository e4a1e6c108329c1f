"""A training step traced on tensors without contents: what it keeps in memory, for models that no formula describes."""
