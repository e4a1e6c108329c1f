"""Where the search of a cell's learning rate starts, and the range that is searched where a spec gives none.

A method's starting point (``FineTuning.prior``) was found on SmolLM2-135M, with AdamW. For a wider model it is smaller
by as much as the model is wider: under Adam the learning rate of hidden weights goes with 1 / width (G. Yang et al.,
"Tensor Programs V", 2022, arXiv:2203.03466). At a width of 4,096 (7B), full fine-tuning so starts at 2.8e-5;
Llama 2 was fine-tuned with 2e-5 (H. Touvron et al., 2023, arXiv:2307.09288, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sweeps.planning.cell import LEARNING_RATE
from sweeps.planning.draft import Draft
from sweeps.spec.domains import Log, is_number
from sweeps.spec.problems import Problem
from sweeps.spec.schema import entry_class
from sweeps.spec.tree import Branch, CellPath, node_at
from trainables.config.optimizers import NAMED
from trainables.methods.base import FineTuning
from trainables.stages.base import TrainingStage

if TYPE_CHECKING:
    from trainables.models.folder import Architecture

PATH: CellPath = ("train", "learning_rate")
MEASURED_WIDTH = 576  # of SmolLM2-135M
SPAN = 10.0  # the range reaches from the starting point / 10 to the starting point x 10
WIDTHS = ("hidden_size", "d_model", "n_embd")  # as families call it


def width_factor(architecture: Architecture | None) -> float:
    """The factor of starting points for a model of this width: at most 1, and 1 where the width is unknown."""
    config: Mapping[str, Any] = architecture.config if architecture is not None else {}
    inner = config.get("text_config")
    settings = {**config, **(inner if isinstance(inner, Mapping) else {})}
    width = next((settings[key] for key in WIDTHS if is_number(settings.get(key))), MEASURED_WIDTH)
    # Below the measured width nothing is known, and nothing is scaled up.
    return min(1.0, MEASURED_WIDTH / width) if width > 0 else 1.0


def with_default_range(draft: Draft, factor: float) -> Draft:
    """The draft with the range of its method around the starting point, where the spec says nothing of the rate.

    Not for an optimizer for which no starting point is known, such as SGD.
    """
    train, start = draft.parts.children.get("train"), _starting_point(draft, factor)
    given = PATH in draft.broken or node_at(draft.parts, PATH) is not None
    if given or start is None or not isinstance(train, Branch) or _optimizer_factor(draft) is None:
        return draft
    return replace(draft, space={**draft.space, PATH: _range(start)})


def _optimizer_factor(draft: Draft) -> float | None:
    """What AdamW's learning rates are multiplied by for the optimizer that a spec writes; ``None`` where they say
    nothing about it.
    """
    train = draft.parts.children.get("train")
    optimizer = train.plain().get("optimizer") if isinstance(train, Branch) else None
    kind = optimizer.get("kind") if isinstance(optimizer, dict) else optimizer
    settings = NAMED.get(kind) if isinstance(kind, str) else None
    return settings.adam_rate_factor if settings is not None else 1.0


def outside_problems(draft: Draft, factor: float) -> Iterator[Problem]:
    """A warning where the range that a spec gives doesn't hold the method's starting point."""
    start, domain = _starting_point(draft, factor), draft.space.get(PATH)
    ends = [value for value in domain.probes() if is_number(value)] if domain is not None else []
    if domain is not None and domain.start is not None:
        return  # the spec says where the search begins
    if start is None or not ends or min(ends) * (1 - 1e-9) <= start <= max(ends) * (1 + 1e-9):
        return
    assert domain is not None
    low, high = _range(start).probes()
    what = (
        f"the starting point of {draft.name}, {start:.3g}, lies outside {domain}: the first trial takes "
        f"{domain.clip(start):.3g}. With learning_rate left out, {low:g} to {high:g} is searched"
    )
    yield draft.problem(PATH, what, error=False)


def _range(start: float) -> Log:
    return Log(float(f"{start / SPAN:.3g}"), float(f"{start * SPAN:.3g}"))


def _starting_point(draft: Draft, factor: float) -> float | None:
    method = entry_class("methods", draft.method_entry.kind)
    stage = entry_class("stages", draft.stage_entry.kind)
    if draft.placeholder or method is None or stage is None:
        return None
    assert issubclass(method, FineTuning)
    assert issubclass(stage, TrainingStage)
    start = method.prior.get(LEARNING_RATE)
    scale = stage.learning_rate_factor * (_optimizer_factor(draft) or 1.0) * factor
    return start * scale if start is not None else None
