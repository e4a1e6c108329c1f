"""Studies: shipped specs that ask whether a published result comes out, and what came out, one folder for each."""
