"""Rewards of answers: rules, checks of form, functions of one's own, reward models, for stages that sample."""
