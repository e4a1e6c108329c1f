"""Finds, reads and converts data sets to the rows that a stage needs, and splits them in three."""
