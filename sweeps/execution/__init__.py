"""A sweep while it runs: its driver, its slots, its run folder, and the inputs that it stages for nodes."""
