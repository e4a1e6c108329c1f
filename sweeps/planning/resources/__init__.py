"""What a trial takes where the spec leaves its resources out: GPUs, cores, and how many trials run at a time."""
