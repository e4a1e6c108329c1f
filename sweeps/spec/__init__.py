"""The spec language: YAML read with line numbers, overrides, search domains, entries, and messages about mistakes."""
