"""What the search of a cell shows beside its best: what mattered, where the optimum lies, what more draws give."""
