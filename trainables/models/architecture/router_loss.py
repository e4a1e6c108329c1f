"""The auxiliary loss of a mixture of experts, which asks its routers to use all experts alike (Fedus et al., 2021,
arXiv:2101.03961, equation 4).

Models return what it is computed from where their config says so, and add it to their loss. What a trial trains is
stated by ``train.router_aux_loss``, whatever the model's config had; that is what is saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

OUTPUT, COEFFICIENT = "output_router_logits", "router_aux_loss_coef"


def set_router_loss(config: Any, coefficient: float) -> dict[str, Any]:
    """Turns the loss on, with this coefficient, or off for 0; returns the settings as they were.

    Nothing changes for a model without experts.
    """
    text = config.get_text_config()
    before = {name: getattr(text, name) for name in (OUTPUT, COEFFICIENT) if hasattr(text, name)}
    if OUTPUT in before:
        setattr(text, OUTPUT, coefficient > 0)
        if coefficient > 0:
            setattr(text, COEFFICIENT, coefficient)
    return before


def router_coefficient(config: Any, coefficient: float) -> float:
    """What TRL's trainers take as the coefficient: 0 for a model without experts, for which they refuse others."""
    return coefficient if hasattr(config.get_text_config(), OUTPUT) else 0.0


@contextmanager
def router_settings(config: Any, values: dict[str, Any]) -> Iterator[None]:
    """Gives a model's config these router settings for a block: those to save, or those to generate and score with."""
    text = config.get_text_config()
    before = {name: getattr(text, name) for name in values}
    for name, value in values.items():
        setattr(text, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(text, name, value)


def without_router_logits(config: Any) -> dict[str, Any]:
    """The router settings to generate and score with: with logits of routers, generation of several rows fails."""
    return {OUTPUT: False} if getattr(config.get_text_config(), OUTPUT, False) else {}
