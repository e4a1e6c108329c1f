"""The text of a spec as checked values that know their line: domains, settings, overrides, messages."""
