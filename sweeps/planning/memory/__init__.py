"""Predicted peak memory of cells: over their search space, against a capacity, corrected by earlier measurements."""
