"""One trial: its configuration, the weights it starts from, its loading, staged inputs, and a preview of its data."""
