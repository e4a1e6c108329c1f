"""`paretune serve`: results behind an API that OpenAI's clients can use, on Ray Serve."""
