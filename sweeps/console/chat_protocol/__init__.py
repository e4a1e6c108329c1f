"""``paretune chat --json``: requests and events as lines of JSON, for programs that show answers side by side."""
