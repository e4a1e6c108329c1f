"""What a plan shows before it is run: the differences that it could find, and whether trials can save themselves."""
