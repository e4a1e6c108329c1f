"""Evaluating results: on a trial's held-out rows or any other data, on benchmarks, and for forgetting."""
