"""GRPO: its settings, and its trainer on TRL's."""
