"""The data set that comes with Paretune: spoken commands and their one right answer each."""
