"""The `evaluate` command: what is compared, whether it differs, and how that is written."""
