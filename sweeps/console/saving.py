"""What a sweep that ends waits for, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainables.system.byte_sizes import GIB, gib

if TYPE_CHECKING:
    from trainables.training.activity import Activity

AGAIN = "Ctrl-C again ends at once"

LONG_STEP_SECONDS = 5.0  # a step that is to be ended first, and is a reason of its own


def saving_text(saving: Mapping[str, Activity]) -> str:
    """``saving 2 trials, 1.6 of 3.1 GiB; Ctrl-C again ends at once``; empty where nothing is waited for."""
    unsaved = [activity for activity in saving.values() if activity.phase != "finishing"]
    writing = [activity for activity in unsaved if activity.phase == "saving"]
    finishing = len(saving) - len(unsaved)
    parts = []
    if unsaved and not writing:
        total = sum(activity.checkpoint_bytes for activity in unsaved)
        parts.append(f"{_trials(len(unsaved))} at the end of a step, then {gib(total, '.1f')} to save")
    elif unsaved:
        total = sum(max(activity.checkpoint_bytes, activity.written_bytes) for activity in unsaved)
        written = sum(activity.written_bytes for activity in writing)
        # A checkpoint of an adapter would be 0.0 GiB.
        digits = ".1f" if total >= GIB else ".3f"
        parts.append(f"saving {_trials(len(unsaved))}, {written / GIB:{digits}} of {gib(total, digits)}")
    if finishing:
        parts.append(f"{_trials(finishing)} being scored, whose training is not saved")
    return "; ".join([*parts, AGAIN]) if parts else ""


def abandoned_text(activity: Activity) -> str:
    """Why a trial doesn't save itself where the time is limited."""
    checkpoint = f"its checkpoint of {gib(activity.checkpoint_bytes)}"
    ends_step = activity.phase == "training" and activity.step_seconds >= LONG_STEP_SECONDS
    step = (
        f"a step of up to {activity.step_seconds:.0f} s and {checkpoint} do"
        if ends_step
        else f"{checkpoint} does"
    )
    return f"{step} not fit into the notice; it goes on at step {activity.saved_step + 1}"


def _trials(count: int) -> str:
    return f"{count} trial{'s' * (count != 1)}"
