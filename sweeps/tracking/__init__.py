"""Trackers: what is sent of a run folder to Weights & Biases and its like, each from a process of its own."""
