"""Predicted peaks of cells, and the corrections that earlier measurements teach."""
