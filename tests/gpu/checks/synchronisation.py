"""No code of ours makes the CPU wait for the GPU in a step: torch's warnings of it are counted by who caused them."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from tests.gpu.bench import Bench
from tests.gpu.check import Case, Finding
from tests.gpu.checks.stages import STAGES
from tests.gpu.trials import train, trial_config
from tests.helpers.paths import ROOT
from trainables.training.training_callback import NoControl

FIRST, STEPS = 3, 4  # the first step that is watched, and how many are
MESSAGE = "called a synchronizing CUDA operation"
OURS = ROOT / "trainables"


class WatchedSteps(NoControl):
    """Switches torch's warnings on for some steps. It is asked at the end of each."""

    def __init__(self, switch: Callable[[str], Any]) -> None:
        self.switch, self.asked = switch, 0

    def interrupted(self) -> bool:
        self.asked += 1
        if self.asked == FIRST - 1:
            self.switch("warn")
        elif self.asked == FIRST - 1 + STEPS:
            self.switch("default")
        return False


# Method and settings; what is copied to a GPU in each step is seen on a GPU alone.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "logging_steps 1": ("lora", {"logging_steps": 1}),
    "logging_steps 100": ("lora", {"logging_steps": 100}),
    "classification": ("lora", {"stage": {**STAGES["classification"], "kind": "classification"}}),
    "adalora": ("adalora", {}),
    "adalomo": ("full", {"optimizer": "adalomo", "max_grad_norm": None}),
}
DRY = ("logging_steps 1", "classification")


def cases(bench: Bench) -> Iterator[Case]:
    for name in bench.pick(tuple(CASES), DRY):
        yield Case(name, partial(_counted, bench, *CASES[name]))


def _counted(bench: Bench, method: str, settings: dict[str, Any]) -> Finding:
    data = {"train": "commands", "max_samples": 80} if "stage" in settings else None
    options = {"logging_steps": 100, "tokens": bench.pick(256, 48), **settings}
    config = trial_config(bench, method, data=data, steps=FIRST + STEPS, batch_size=2, **options)
    with caused_by() as causes:
        train(bench, config, WatchedSteps(_switch(bench)))
    ours = {place: count for place, count in causes.items() if place.startswith(OURS.name)}
    values = {"steps": STEPS, "warnings": sum(causes.values()), "of_ours": sum(ours.values())}
    values |= dict(causes.most_common(8))
    worst = max(ours, key=lambda place: ours[place], default=None)
    return Finding(
        values, f"{sum(ours.values())} in {STEPS} steps, most of them at {worst}" if ours else None
    )


def _switch(bench: Bench) -> Callable[[str], Any]:
    import torch

    # A CPU has nothing to wait for; the warning of a library stands for those of a GPU.
    return torch.cuda.set_sync_debug_mode if bench.device == "cuda" else lambda mode: None


@contextmanager
def caused_by() -> Iterator[Counter[str]]:
    """Counts torch's warnings within the block by their cause, as ``trainables/training/policy.py:40``."""
    causes: Counter[str] = Counter()

    def note(message: Any, *_: Any, **__: Any) -> None:
        if MESSAGE in str(message):
            causes[cause(sys._getframe(1))] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        yield causes


def cause(frame: FrameType | None) -> str:
    """The innermost frame that is neither Python's nor torch's: the code that asked for the value."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        inside = _in_packages(path)
        if path.is_relative_to(ROOT / "trainables"):
            return f"{path.relative_to(ROOT)}:{frame.f_lineno}"
        if inside and inside[0] != "torch":
            return f"{'/'.join(inside)}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown"


def _in_packages(path: Path) -> tuple[str, ...]:
    """The parts of a path below the folder of installed packages; none for other files."""
    places = [number for number, part in enumerate(path.parts) if part in ("site-packages", "dist-packages")]
    return path.parts[places[-1] + 1 :] if places else ()
