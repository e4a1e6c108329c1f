"""Trials of the checks: their configs, and what of a run a check reads."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.check import TrialFailed
from trainables.results import Record, read_curve
from trainables.runner.run import TrialContext, run_trial
from trainables.training.training_callback import Control
from trainables.trial.config import TrialConfig
from trainables.trial.resident_base import ResidentBase

METHODS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "freeze": {"kind": "freeze", "layers": 2},
    "lora": {"kind": "lora", "rank": 8},
    "dora": {"kind": "lora", "rank": 8, "dora": True},
    "lisa": {"kind": "lisa", "layers": 1, "every": 4},
    "badam": {"kind": "badam", "every": 4},
    "adalora": {"kind": "peft", "type": "adalora"},
    "qlora-4bit": {"kind": "qlora", "rank": 8},
    "qlora-8bit": {"kind": "qlora", "rank": 8, "bits": 8},
    "qlora-hqq4bit": {"kind": "qlora", "rank": 8, "backend": "hqq"},
    "qlora-hqq8bit": {"kind": "qlora", "rank": 8, "backend": "hqq", "bits": 8},
    "qlora-eetq8bit": {"kind": "qlora", "rank": 8, "backend": "eetq", "bits": 8},
}
WHOLE = (
    "full",
    "freeze",
    "lisa",
    "badam",
)  # methods that train the model's own weights, with a lower learning rate


def trial_config(
    bench: Bench,
    method: str,
    *,
    large: bool = False,
    tokens: int | None = None,
    data: Mapping[str, Any] | None = None,
    stage: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    **train: Any,
) -> TrialConfig:
    """A trial of ``method`` on the small model, or the ``large`` one; nothing is held out unless ``data`` says so.

    ``tokens``: the cutoff, by default 512. ``train``: settings of training; steps, batch and rate have defaults.
    """
    cutoff = tokens or bench.pick(512, 48)
    rate = bench.pick(1e-4, 5e-3) if method in WHOLE else bench.pick(2e-3, 1e-2)
    kind = {"kind": "sft", **(stage or {})}
    return TrialConfig.model_validate(
        {
            "cell": f"{kind['kind']}-{method}",
            "method_name": method,
            "model": {"path": bench.large if large else bench.small, **(model or {})},
            "data": {
                "train": str(bench.rows(cutoff)), "eval_fraction": 0.0, "cutoff": cutoff, **(data or {}),
            },
            "stage": kind,
            "method": METHODS[method],
            "train": {"steps": 4, "batch_size": 4, "learning_rate": rate, **train},
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """A trial that ended as expected: its record, the loss of each step, and its folder."""

    record: Record
    losses: tuple[float, ...]
    folder: Path

    @property
    def run(self) -> Path:
        return self.folder.parent.parent

    def remove(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)

    def fell(self) -> str | None:
        """Why the loss did not fall, by the means of its first and last third; ``None`` where it did."""
        third = max(1, len(self.losses) // 3)
        first, last = mean(self.losses[:third]), mean(self.losses[-third:])
        return None if last < first else f"the loss did not fall: {first:.4g} at first, {last:.4g} at last"

    def values(self) -> dict[str, Any]:
        """What most checks show of a trial."""
        return {
            "first_loss": self.losses[0],
            "last_loss": self.losses[-1],
            "tokens_per_second": self.record.tokens_per_second,
            "peak_bytes": self.record.peak_bytes,
        }


def train(
    bench: Bench,
    config: TrialConfig,
    control: Control | None = None,
    *,
    run: Path | None = None,
    keep: bool = False,
    measured: bool = False,
    bases: ResidentBase | None = None,
    ends: tuple[str, ...] = ("done",),
    **options: Any,
) -> Trained:
    """Runs a trial in a run folder of its own, or goes on with it in ``run``; removes the folder unless ``keep``.

    ``measured``: whether its memory is read while it runs, in a dry run that of the process. ``bases`` lends the base.
    Raises :class:`TrialFailed` where its status is none of ``ends``.
    """
    if measured:
        options["memory_gauge"] = memory_gauge(bench.device)
    folder = run or Path(tempfile.mkdtemp(prefix="run-", dir=bench.folder))
    lent = {} if bases is None else {"bases": bases}
    context = TrialContext(folder, handed_over_at=time.time(), **lent)
    record = run_trial(config, context, control, **options)
    trial = folder / "trials" / config.trial_id()
    trained = Trained(record, losses(trial), trial)
    if record.status not in ends:
        error = trial / "error.txt"
        trace = error.read_text(encoding="utf-8") if error.exists() else None
        raise TrialFailed(f"the trial is {record.status}: {record.error}", trace)
    if not keep:
        trained.remove()
    return trained


def losses(trial: Path) -> tuple[float, ...]:
    """The training loss by step, as the curve in a trial's folder has it."""
    points = read_curve(trial) if (trial / "curve.jsonl").exists() else []
    by_step = {point["step"]: point["value"] for point in points if point["name"] == "train_loss"}
    return tuple(value for _, value in sorted(by_step.items()))


# Where a trial repeats itself exactly, what is compared with it has to; else it may differ by a few times as much as
# two of these trials, whose differences are random and grow with each step.
FACTOR = 4.0


def beyond_repetition(gap: float, repeated: float) -> bool:
    """Whether a difference from a trial is more than that trial's from a repetition of it; NaN is."""
    return not gap <= FACTOR * repeated


def largest_gap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The largest relative difference of two curves of the same steps.

    >>> largest_gap((2.0, 1.0), (2.0, 1.5))
    0.5
    """
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def memory_gauge(device: str) -> Any:
    """What reads the memory of a trial within it, as in a sweep on GPUs; on a CPU the resident set stands for it."""
    from trainables.memory.gauges import ResidentSet
    from trainables.memory.in_trial import InTrial

    return InTrial() if device == "cuda" else InTrial(gauge=ResidentSet)
