"""Which cells fit in a given memory, which don't and by how much, and the least change that makes each fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweeps.foretell import Case
from trainables.methods import LoRA, QLoRA

GIB = 2**30
# What a change costs beside memory, roughly: the share of time that it adds, or how much it alters what is compared.
HALVED, CHECKPOINTED, EIGHT_BIT_STATES, FOUR_BITS = 0.1, 0.3, 0.35, 1.0
EIGHT_BIT = {"adamw": "adamw_8bit", "paged_adamw": "paged_adamw_8bit"}


@dataclass(frozen=True)
class Change:
    """A way to take less: what it is, in the spec's words, and what it costs."""

    words: str
    cost: float
    case: Case


@dataclass(frozen=True)
class Fit:
    """``spare`` bytes are left, or lacking where it is negative; ``change``: what would help, if anything does."""

    cell: str
    case: Case
    spare: int
    change: Change | None = None

    def __str__(self) -> str:
        peak = f"{self.cell}: {self.case.total / GIB:.2f} GiB"
        if self.spare >= 0:
            return f"{peak} fits, {self.spare / GIB:.2f} GiB to spare"
        lacks = f"{peak} does not fit, {-self.spare / GIB:.2f} GiB too much"
        if self.change is None:
            return f"{lacks}; no change of checkpointing, batch, optimizer or bits is enough"
        return f"{lacks}; {self.change.words}: {self.change.case.total / GIB:.2f} GiB"


def fit(cell: str, case: Case, memory: int) -> Fit:
    """Whether a case's predicted peak is within ``memory`` bytes, and else the cheapest change that brings it there."""
    spare = memory - case.total
    if spare >= 0:
        return Fit(cell, case, spare)
    enough = (change for change in _changes(case) if change.case.total <= memory)
    return Fit(cell, case, spare, min(enough, key=lambda change: change.cost, default=None))


def _changes(case: Case) -> Iterator[Change]:
    """Every combination of the single changes."""
    for chosen in itertools.product(*([None, *ways] for ways in _ways(case))):
        steps = [change for change in chosen if change is not None]
        if steps:
            yield _together(case, steps)


Step = tuple[str, float, str, dict[str, object]]  # words, cost, the config's part, the settings in it


def _ways(case: Case) -> Iterator[list[Step]]:
    """What may be changed, each with its settings; of each at most one is taken."""
    train, method = case.config.train, case.config.method
    if not train.gradient_checkpointing:
        yield [
            ("train.gradient_checkpointing: true", CHECKPOINTED, "train", {"gradient_checkpointing": True})
        ]
    if halved := list(_halvings(case)):
        yield halved
    if train.sharding != "none":
        return  # neither bits nor 8-bit states can be shared
    if train.optimizer in EIGHT_BIT:
        other = EIGHT_BIT[train.optimizer]
        yield [(f"train.optimizer: {other}", EIGHT_BIT_STATES, "train", {"optimizer": other})]
    if isinstance(method, QLoRA):
        if method.bits > 4:
            yield [("bits: 4", FOUR_BITS, "method", {"bits": 4})]
    elif isinstance(method, LoRA):
        yield [("model.quantization: 4", FOUR_BITS, "quantize", {})]


def _halvings(case: Case) -> Iterator[Step]:
    """Half the rows at a time with twice the accumulation, a quarter, ..."""
    smaller, times = case.config.halved(case.workers), 1
    while smaller is not None:
        rows, accumulation = smaller.train.batch_size, smaller.train.gradient_accumulation
        words = f"train.batch_size: {rows} with gradient_accumulation: {accumulation}"
        yield words, HALVED * times, "train", {"batch_size": rows, "gradient_accumulation": accumulation}
        smaller, times = smaller.halved(case.workers), times + 1


def _together(case: Case, steps: Sequence[Step]) -> Change:
    changed = case
    for _, _, part, settings in steps:
        changed = _quantized(changed) if part == "quantize" else changed.changed(part, **settings)
    words = ", ".join(words for words, *_ in steps)
    return Change(words, sum(cost for _, cost, *_ in steps), changed)


def _quantized(case: Case) -> Case:
    from dataclasses import replace

    assert isinstance(case.config.method, LoRA)
    kept = {key: getattr(case.config.method, key) for key in LoRA.model_fields if key not in ("kind", "name")}
    method = QLoRA.model_construct(**kept)
    return replace(case, config=case.config.model_copy(update={"method": method}))
