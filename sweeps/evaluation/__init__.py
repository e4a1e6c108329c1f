"""`paretune evaluate`: results measured on rows and compared, with intervals, and written to files."""
