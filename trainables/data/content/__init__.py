"""What rows contain: edits of texts, media that can't be trained on, and rows that contradict one another."""
