"""Results behind an API that OpenAI's clients speak, on Ray Serve."""
