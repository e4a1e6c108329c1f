"""The training loss that trials are compared by: what is read of a GPU for it, and when."""

from __future__ import annotations

import pytest

from trainables.training import loss_window
from trainables.training.checkpoints import Progress
from trainables.training.loss_window import LossWindow


class OnDevice:
    """A loss on a GPU: numbers are added there, and to read one is to wait for it."""

    reads = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def __radd__(self, other: float) -> OnDevice:
        return OnDevice(other + self.value)

    def __add__(self, other: OnDevice) -> OnDevice:
        return OnDevice(self.value + other.value)

    def __float__(self) -> float:
        OnDevice.reads += 1
        return self.value


def test_losses_are_read_and_averaged_over_workers_once_at_each_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared: list[float] = []
    monkeypatch.setattr(loss_window, "mean_over_workers", lambda value: shared.append(value) or value + 1)
    monkeypatch.setattr(OnDevice, "reads", 0)
    window = LossWindow([4, 8], Progress())
    means = [window.add(step, OnDevice(float(step))) for step in range(1, 11)]
    assert shared == [3.0 + 4, 5.0 + 6 + 7 + 8]
    assert OnDevice.reads == 2
    assert means == [None, None, None, 8 / 2, None, None, None, 27 / 4, None, None]


def test_what_is_added_up_before_a_save_counts_after_it() -> None:
    progress = Progress()
    window = LossWindow([6], progress)
    for step in range(1, 6):
        window.add(step, OnDevice(float(step)))
    window.keep()
    assert (progress.loss_sum, progress.loss_steps) == (9.0, 2)
    assert LossWindow([6], progress).add(6, OnDevice(6.0)) == 5.0
