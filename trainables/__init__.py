"""One trial: its data, model, method, stage and memory, from its configuration to its record; no sweeps here."""
