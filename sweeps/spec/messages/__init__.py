"""Messages about a value of a spec that is refused: what it says, what is allowed, and what was probably meant."""
