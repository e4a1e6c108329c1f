"""The pages of the UI, a module each."""
