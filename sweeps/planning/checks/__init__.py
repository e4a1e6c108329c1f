"""The problems of a cell: its settings, its data, its dependencies, and whether cells compare fairly."""
