"""What pages show of runs: states that are read from run folders alone, again and again, and kept in between."""
