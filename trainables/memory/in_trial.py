"""The memory of a trial, read while it trains, from the statistics of its GPU's allocator.

A process of its own, as on a CPU, would need the trial's memory a second time on the same GPU. The first trial of a
memory shape in a run trains two steps on the longest batch before its own first one, so that this batch is among those
that are read. Everything that these steps change is undone. For that, the machine's memory has to hold a copy of the
weights that are trained; where it can't, the peaks are those of the trial's own batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainables.memory.figures import Memory, TensorCounter, weight_bytes
from trainables.memory.gauges import CudaAllocator, Gauge, Meter
from trainables.memory.longest_batch import longest_rows, predict_peak_of, train_longest
from trainables.memory.policy_snapshot import copied_bytes, preserved
from trainables.storage import files
from trainables.system import machine
from trainables.system.byte_sizes import GIB
from trainables.training.phases import Phases
from trainables.training.policy import Policy
from trainables.training.trainer_setup import clean_process
from trainables.training.worker_group import largest_over_workers, worker_count
from trainables.trial.config import TrialConfig

# What workers may have different numbers of.
SHARED = (
    "weight_bytes",
    "gradient_bytes",
    "optimizer_bytes",
    "peak_load_bytes",
    "peak_train_bytes",
    "peak_eval_bytes",
    "reserved_bytes",
)
SPARE_BYTES = GIB  # of the machine's memory that the copies of weights leave free


@dataclass(frozen=True)
class InTrial:
    """Has each trial's memory read within the trial.

    ``gauge`` makes the gauge of this process. ``stored`` looks up what another node has measured for a memory shape, a
    ``figures.Memory`` as JSON.
    """

    gauge: Callable[[], Gauge] = CudaAllocator
    stored: Callable[[str], Mapping[str, Any] | None] = lambda shape: None

    def is_known(self, run: Path, shape: str) -> bool:
        """Whether the run has the figures of a memory shape, on any node; those of another node are kept here."""
        path = run / "memory" / f"{shape}.json"
        if not path.exists() and (stored := self.stored(shape)) is not None:
            files.write_json(path, dict(stored))
        return path.exists()


@dataclass
class TrialMeter:
    """Reads one trial's memory; without ``in_trial`` it measures nothing. In the order of a trial:

    >>> meter = TrialMeter(config, InTrial())  # doctest: +SKIP
    >>> meter.start(run)  # nothing of the trial is in memory  # doctest: +SKIP
    >>> with meter.phase("load"):  # doctest: +SKIP
    ...     policy = attach(load_base(config, folder), tokenizer, config)
    >>> meter.count_weights(policy)  # doctest: +SKIP
    >>> with meter.phase("train"):  # doctest: +SKIP
    ...     meter.train_longest(policy, rows.train, phases)
    ...     trainer.train()
    >>> with meter.phase("eval"):  # may come within "train"  # doctest: +SKIP
    ...     config.stage.score(...)
    >>> meter.measure(config)  # doctest: +SKIP
    {'memory_source': 'cuda', 'baseline_bytes': ..., ...}

    A base model that stays in memory between trials belongs to each trial that uses it, and not to the baseline:
    ``start(run, resident_bytes)`` takes what of it is in memory. The trial that loads it keeps ``load_peak`` beside it,
    and each later one that is lent it passes that to ``base_was_loaded(load_peak)``. Where another base is loaded in
    its place, ``restart_phase()`` between the two keeps the former out of the peak of loading.
    """

    config: TrialConfig
    in_trial: InTrial | None = None
    _meter: Meter = field(default_factory=lambda: Meter(gauge=None), init=False)
    _known: bool = field(default=True, init=False)  # whether the run has the figures of this shape
    _counted: dict[str, int | None] = field(default_factory=dict, init=False)
    _largest: dict[str, int] = field(default_factory=dict, init=False)  # of all workers

    @property
    def reads(self) -> bool:
        """Whether this trial's memory is read."""
        return self.in_trial is not None

    def start(self, run: Path, resident_bytes: int = 0) -> None:
        """Reads the baseline, of which ``resident_bytes`` are a base model's that an earlier trial has left.

        All workers call it: they have to agree on whether the run knows this memory.
        """
        if self.in_trial is None:
            return
        gauge = self.in_trial.gauge()
        self._meter = Meter(gauge, baseline=max(0, gauge.now() - resident_bytes))
        known = self.in_trial.is_known(run, self.config.memory_shape(worker_count()))
        self._known = largest_over_workers([int(not known)]) == [0]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Reads the peak while the block runs."""
        with self._meter.phase(name):
            yield

    def restart_phase(self) -> None:
        """Has the phase begin with what is in memory now, once an earlier trial's base has made room for this one's."""
        self._meter.restart_phase()

    @property
    def load_peak(self) -> int | None:
        """The peak of loading above the baseline in bytes; ``None`` where memory isn't read."""
        return self._meter.peaks.get("load")

    def base_was_loaded(self, load_peak: int | None) -> None:
        """Counts the loading of a base model that this trial has found in memory."""
        if self.reads and load_peak is not None:
            self._meter.peaks["load"] = max(load_peak, self._meter.peaks.get("load", 0))

    def count_weights(self, policy: Policy) -> None:
        """Counts what is there once the policy is loaded."""
        if self.reads:
            self._counted["weight_bytes"] = weight_bytes(policy.model)

    def train_longest(self, policy: Policy, rows: Sequence[Any], phases: Phases) -> None:
        """Trains on the longest of the training ``rows`` and undoes it, unless the run knows this memory.

        Without room for the copies that undo it, nothing is trained: ``gradient_bytes`` and ``optimizer_bytes`` stay
        unknown, while the longest row's tokens are counted and its peak is predicted.
        ``phases`` says where an error has occurred. All workers have to call it.
        """
        if self._known or self.config.method is None:
            return
        worst, counter = _worst_case(self.config), TensorCounter()
        longest, length = longest_rows(worst, policy, rows)
        predicted = predict_peak_of(worst, policy, length)
        self._counted |= {"row_tokens": length.tokens, "predicted_peak_bytes": predicted}
        if not _fits_beside_others(copied_bytes(policy)):
            return
        with phases.during("forward"), preserved(policy):
            train_longest(_with_plain_layers(worst), policy, longest, counter, phases)
        clean_process(worst.train.precision)
        self._counted |= {
            "gradient_bytes": counter.gradient_bytes,
            "optimizer_bytes": counter.optimizer_bytes,
        }

    def share(self) -> None:
        """Takes the largest figures of all workers, which all have to call this."""
        if self.reads:
            mine = self._figures()
            # Unknown is less than any number of bytes.
            numbers = largest_over_workers(
                [-1 if (value := mine[name]) is None else value for name in SHARED]
            )
            self._largest = {name: value for name, value in zip(SHARED, numbers, strict=True) if value >= 0}

    def measure(self, config: TrialConfig) -> dict[str, Any]:
        """The figures that were read, a ``figures.Memory`` as JSON; ``config`` is the trial's."""
        gauge, mine = self._meter.gauge, self._figures()
        assert gauge is not None
        # A worker that has scored alone knows its own peak.
        for name, number in self._largest.items():
            mine[name] = max(number, mine[name] or 0)
        figures = Memory(
            memory_source=gauge.source,
            baseline_bytes=self._meter.baseline,
            rows=config.train.batch_size // worker_count(),
            **mine,
        )
        return figures.model_dump(mode="json")

    def _figures(self) -> dict[str, int | None]:
        """This worker's own."""
        peaks = {f"peak_{name}_bytes": self._meter.peaks.get(name) for name in ("load", "train", "eval")}
        unknown: dict[str, int | None] = dict.fromkeys(SHARED)
        return unknown | self._counted | peaks | {"reserved_bytes": self._meter.reserved}


def _fits_beside_others(copies: int) -> bool:
    """Whether this machine has the memory for the copies of all workers, which may all be here; they agree on it."""
    (largest,) = largest_over_workers([copies])
    room = machine.available_memory_bytes()
    # 0: the system doesn't say.
    short = 0 < room < largest * worker_count() + SPARE_BYTES
    return largest_over_workers([int(short)]) == [0]


def _worst_case(config: TrialConfig) -> TrialConfig:
    """The config with the settings of its stage that take the most memory, and no more batches than that takes."""
    # With accumulation, the second batch of a step finds the gradients of the first; others take the same memory.
    accumulated = min(2, config.train.gradient_accumulation)
    train = config.train.model_copy(update={"gradient_accumulation": accumulated})
    return config.model_copy(update={"stage": config.stage.worst_case(), "train": train})


def _with_plain_layers(config: TrialConfig) -> TrialConfig:
    """The config without compiled layers: the trial's own first batch decides what is compiled."""
    return config.model_copy(update={"train": config.train.model_copy(update={"compile": "off"})})
