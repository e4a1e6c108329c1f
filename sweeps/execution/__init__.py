"""A sweep while it runs: its driver, its slots, its run folder, the inputs it stages."""
