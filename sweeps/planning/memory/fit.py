"""Which cells fit in a given memory, which don't and by how much, and the least change that makes each fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweeps.planning.memory.cell_memory import Case
from trainables.methods import LoRA, QLoRA
from trainables.trial.worker_limits import problems

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
        peak = f"{self.cell}: {_peak(self.case)}"
        if self.spare >= 0:
            return f"{peak} fits, {self.spare / GIB:.2f} GiB to spare"
        lacks = f"{peak} does not fit, {-self.spare / GIB:.2f} GiB too much"
        if self.change is None:
            return f"{lacks}; no change of checkpointing, batch, optimizer, bits or workers is enough"
        return f"{lacks}; {self.change.words}: {_peak(self.change.case)}"


def _peak(case: Case) -> str:
    each = f" for each of {case.workers} workers" if case.workers > 1 else ""
    return f"{case.total / GIB:.2f} GiB{each}"


def fit(cell: str, case: Case, memory: int) -> Fit:
    """Whether a case's predicted peak is within ``memory`` bytes, and else the cheapest change that brings it there."""
    spare = memory - case.total
    if spare >= 0:
        return Fit(cell, case, spare)
    found = (_cheapest(changes, memory) for changes in (_changes(case), _sharing(case)))
    return Fit(cell, case, spare, next(filter(None, found), None))


def _cheapest(changes: Iterator[Change], memory: int) -> Change | None:
    enough = (change for change in changes if change.case.total <= memory)
    return min(enough, key=lambda change: change.cost, default=None)


def _sharing(case: Case) -> Iterator[Change]:
    """Weights shared by so many workers, with checkpointing as well; it takes more machines, so it comes last."""
    checkpointed = (CHECKPOINTED, ", train.gradient_checkpointing: true", {"gradient_checkpointing": True})
    for cost, words, changes in ((0.0, "", {}), checkpointed):
        for way in case.changed("train", sharding="fsdp", **changes).ways():
            refused = any(error for *_, error in problems(way.config, way.workers))
            if way.workers > case.workers and not refused:
                told = f"resources.workers: {way.workers}, train.sharding: fsdp{words}"
                yield Change(told, way.workers + cost, way)


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
