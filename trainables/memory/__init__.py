"""A trial's memory: measured in a process of its own, predicted by counting what a step holds."""
