"""Sweeps that outlive the terminal: their driver is a process of its own or a job of the cluster."""
