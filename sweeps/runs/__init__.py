"""Run folders and runs at URLs, with no plan needed: where they are, which process holds them, what is in them."""
