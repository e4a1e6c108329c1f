"""The figures, one kind in each file: ``draw`` takes a group of cells and returns a drawing, or ``None``."""
