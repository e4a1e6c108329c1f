"""Scores of models after training: on rows of one's own, of a trial, on benchmarks, and what was forgotten."""
