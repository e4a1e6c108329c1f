"""Whether cells fit in a given memory: how much is missing or to spare, and the cheapest change that makes one fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sweeps.planning.memory.cell_memory import ConfigMemory
from trainables.methods import LoRA, QLoRA
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.system.byte_sizes import gib
from trainables.trial.worker_limits import sharing_problems

# Rough costs of a change beside memory: the share of time that it adds, or how much it alters what is compared.
HALVED, CHECKPOINTED, EIGHT_BIT_STATES, FOUR_BITS = 0.1, 0.3, 0.35, 1.0
STAGE_HALVED = 2.0  # a setting of the stage, which changes what is learned
EIGHT_BIT = {"adamw": "adamw_8bit", "paged_adamw": "paged_adamw_8bit"}


@dataclass(frozen=True)
class Change:
    """A way to need less memory: its settings as a spec writes them, its cost, and the peak that results."""

    description: str
    cost: float
    predicted: ConfigMemory


@dataclass(frozen=True)
class Fit:
    """Whether a cell fits: ``spare`` bytes are left, or missing where it is negative."""

    cell: str
    predicted: ConfigMemory
    spare: int
    change: Change | None = None  # the cheapest that makes it fit, if any does

    def __str__(self) -> str:
        peak = f"{self.cell}: {_peak(self.predicted)}"
        if self.spare >= 0:
            return f"{peak} fits, {gib(self.spare)} to spare"
        shortage = f"{peak} does not fit, {gib(-self.spare)} too much"
        if self.change is None:
            own = "".join(f" {name}," for name in self.predicted.config.stage.halved_for_memory)
            return f"{shortage}; no change of checkpointing, batch,{own} optimizer, bits or workers is enough"
        return f"{shortage}; with {self.change.description} it needs {_peak(self.change.predicted)}"


def _peak(memory: ConfigMemory) -> str:
    each = f" for each of {memory.workers} workers" if memory.workers > 1 else ""
    return f"{gib(memory.peak_bytes)}{each}"


def assess_fit(cell: str, memory: ConfigMemory, capacity: int) -> Fit:
    """Compares a predicted peak with ``capacity`` bytes, and finds the cheapest change if it does not fit."""
    spare = capacity - memory.peak_bytes
    if spare >= 0:
        return Fit(cell, memory, spare)
    # The stage's own settings decide what is learned, and more workers need more machines: they are tried only if no
    # other change is enough.
    tried = (_changes(memory), _changes(memory, with_stage=True), _sharing(memory))
    cheapest = (_cheapest(changes, capacity) for changes in tried)
    return Fit(cell, memory, spare, next(filter(None, cheapest), None))


def _cheapest(changes: Iterator[Change], capacity: int) -> Change | None:
    # The cheapest first, since each prediction may take seconds.
    by_cost = sorted(changes, key=lambda change: change.cost)
    return next((change for change in by_cost if _fits(change.predicted, capacity)), None)


def _fits(memory: ConfigMemory, capacity: int) -> bool:
    try:
        return memory.peak_bytes <= capacity
    except MemoryNotPredictable:
        return False


def _sharing(memory: ConfigMemory) -> Iterator[Change]:
    """The weights sharded over more workers, without and with checkpointing."""
    checkpointed = (CHECKPOINTED, ", train.gradient_checkpointing: true", {"gradient_checkpointing": True})
    for cost, also, settings in ((0.0, "", {}), checkpointed):
        for option in memory.with_settings("train", sharding="fsdp", **settings).worker_options():
            impossible = any(error for *_, error in sharing_problems(option.config, option.workers))
            if option.workers > memory.workers and not impossible:
                description = f"resources.workers: {option.workers}, train.sharding: fsdp{also}"
                # A worker costs 1, more than checkpointing, so fewer workers always win.
                yield Change(description, option.workers + cost, option)


@dataclass(frozen=True)
class _SettingChange:
    """One single change, to be combined with others."""

    description: str
    cost: float
    part: str  # of the config: train, method, stage; "quantize" turns LoRA into QLoRA
    settings: Mapping[str, object]


def _changes(memory: ConfigMemory, with_stage: bool = False) -> Iterator[Change]:
    """Every combination of the single changes, with at most one of each kind; ``with_stage``: with one of the stage."""
    of_stage = list(_stage_changes(memory)) if with_stage else []
    kinds = [*_single_changes(memory), *of_stage]
    # None leaves a kind of change out; the combination of Nones alone is the config as it is.
    for combination in itertools.product(*([None, *kind] for kind in kinds)):
        chosen = [change for change in combination if change is not None]
        if chosen and (not with_stage or any(change.part == "stage" for change in chosen)):
            yield _combined(memory, chosen)


def _single_changes(memory: ConfigMemory) -> Iterator[list[_SettingChange]]:
    """The single changes by kind: checkpointing, batch size, optimizer, bits."""
    train, method = memory.config.train, memory.config.method
    if not train.gradient_checkpointing:
        setting = {"gradient_checkpointing": True}
        yield [_SettingChange("train.gradient_checkpointing: true", CHECKPOINTED, "train", setting)]
    if halvings := list(_halvings(memory)):
        yield halvings
    if train.sharding != "none":
        return  # neither low-bit weights nor 8-bit optimizer states can be sharded
    if isinstance(train.optimizer, str) and train.optimizer in EIGHT_BIT:
        smaller = EIGHT_BIT[train.optimizer]
        description = f"train.optimizer: {smaller}"
        yield [_SettingChange(description, EIGHT_BIT_STATES, "train", {"optimizer": smaller})]
    if isinstance(method, QLoRA):
        if method.bits > 4:
            yield [_SettingChange("bits: 4", FOUR_BITS, "method", {"bits": 4})]
    elif isinstance(method, LoRA):
        yield [_SettingChange("model.quantization: 4", FOUR_BITS, "quantize", {})]


def _stage_changes(memory: ConfigMemory) -> Iterator[list[_SettingChange]]:
    """Half of a setting of the stage, a quarter, ..., by setting; the later one alters more."""
    stage = memory.config.stage
    for place, (name, least) in enumerate(stage.halved_for_memory.items(), start=1):
        number: int = getattr(stage, name)
        halved = (number >> times for times in range(1, number.bit_length()))
        values = [value for value in halved if value >= least]
        changes = [
            _SettingChange(f"{name}: {value}", STAGE_HALVED * place * times, "stage", {name: value})
            for times, value in enumerate(values, start=1)
        ]
        if possible := [each for each in changes if _has_no_problem(memory, each)]:
            yield possible


def _has_no_problem(memory: ConfigMemory, change: _SettingChange) -> bool:
    config = memory.with_settings(change.part, **change.settings).config
    return not any(config.stage.problems(config, None))


def _halvings(memory: ConfigMemory) -> Iterator[_SettingChange]:
    """Half the batch size with twice the accumulation, then a quarter, ..."""
    smaller, times = memory.config.halved(memory.workers), 1
    while smaller is not None:
        rows, accumulation = smaller.train.batch_size, smaller.train.gradient_accumulation
        description = f"train.batch_size: {rows} with gradient_accumulation: {accumulation}"
        settings: Mapping[str, object] = {"batch_size": rows, "gradient_accumulation": accumulation}
        yield _SettingChange(description, HALVED * times, "train", settings)
        smaller, times = smaller.halved(memory.workers), times + 1


def _combined(memory: ConfigMemory, changes: Sequence[_SettingChange]) -> Change:
    for change in changes:
        if change.part == "quantize":
            memory = _quantized(memory)
        else:
            memory = memory.with_settings(change.part, **change.settings)
    description = ", ".join(change.description for change in changes)
    return Change(description, sum(change.cost for change in changes), memory)


def _quantized(memory: ConfigMemory) -> ConfigMemory:
    """LoRA as QLoRA with the same adapter, in QLoRA's default bits."""
    method = memory.config.method
    assert isinstance(method, LoRA)
    adapter = {key: getattr(method, key) for key in LoRA.model_fields if key not in ("kind", "name")}
    # Not validated: a valid LoRA's settings are valid here, and QLoRA's own take their defaults.
    quantized = QLoRA.model_construct(**adapter)
    return replace(memory, config=memory.config.model_copy(update={"method": quantized}))
