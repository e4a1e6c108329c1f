"""From a spec to cells: combinations, settings, links between them, and every problem before anything runs."""
