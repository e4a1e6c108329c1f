"""Which cell to use, with what speaks against the answer, and which steps of the front are worth their memory."""
