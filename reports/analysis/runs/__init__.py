"""The runs that a report is of: how far they are, how long they took, and in what they differ."""
