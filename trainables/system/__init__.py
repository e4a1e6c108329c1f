"""The machine and its libraries: cores, memory, packages, processes, background calls, secrets in texts."""
