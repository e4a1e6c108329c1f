"""Weights & Biases: what is sent, from a process of its own, and whether it can be reached."""
