"""Base models: where they come from, what their files say, how they are loaded, scaled and converted."""
