"""Sweeps in the browser. It owns nothing: run folders are the only truth, and every action is one of our commands."""
