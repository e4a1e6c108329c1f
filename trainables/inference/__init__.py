"""Using what was trained: loading results side by side, talking to them, measuring them, taking them away."""
