"""Checks before anything runs: of each cell, between cells that depend on one another, and of fair comparison."""
