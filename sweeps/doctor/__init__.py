"""What this machine or each node of a cluster can do, and what is missing for what."""
