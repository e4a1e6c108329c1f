"""Whether a trial's optimizer can train with its other settings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from trainables.methods.layerwise import LayerWise

if TYPE_CHECKING:
    from trainables.trial.config import TrialConfig


def optimizer_problems(config: TrialConfig) -> Iterator[tuple[tuple[str, str], str]]:
    """((section, setting), what is wrong) for each conflict of the optimizer with the rest of a trial."""
    if config.method is None:
        return
    settings, label = config.train.optimizer_settings, config.train.optimizer_label
    for setting, what in settings.problems(config.train):
        yield ("train", setting), what
    if settings.counts_steps_together and isinstance(config.method, LayerWise):
        what = (
            f"{label} counts the steps of all weights together, while {config.method.kind} begins anew with each "
            "layer's state; take adamw"
        )
        yield ("train", "optimizer"), what
    if getattr(config.method, "loraplus_ratio", None) is not None and settings.groups_matrices:
        yield (
            ("train", "optimizer"),
            f"{label} has groups of its own, and so has loraplus_ratio; leave one of them out",
        )
