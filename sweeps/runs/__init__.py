"""Run folders and runs at URLs as anybody reads them: where they are, who holds them, what is in them."""
