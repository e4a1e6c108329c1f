"""Adds seeds and scored test rows to a run, where they are most likely to settle what its report leaves open."""
