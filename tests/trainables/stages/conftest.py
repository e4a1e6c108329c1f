"""Trials of a model with two layers."""

from tests.helpers.shallow_model import one_frozen_layer, tiny_model  # noqa: F401
