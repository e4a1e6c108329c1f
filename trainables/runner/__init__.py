"""One trial from its configuration to its record, in this process or in a warm worker."""
