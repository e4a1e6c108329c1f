"""Encodes rows as tokens, caches the tokens between runs, and arranges examples in batches."""
