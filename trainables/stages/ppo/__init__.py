"""PPO: its settings, its trainer, its formulas, and the rewards that it learns from."""
