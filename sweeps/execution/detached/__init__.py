"""Sweeps that outlive the terminal: as a process here, or as a job of the cluster."""
