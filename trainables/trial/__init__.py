"""One trial's configuration, and what it is loaded from: weights to start from, staged inputs, previews."""
