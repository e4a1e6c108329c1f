"""Where in its work a trial is, so that one that runs out of memory says where it did."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from trainables.results import Phase


class Phases(TrainerCallback):
    """The phase that a trial is in, from ``load`` on. An error leaves it where it happened.

    >>> phases = Phases()
    >>> with phases.during("eval"):
    ...     phases.now
    'eval'
    >>> phases.now
    'load'
    """

    def __init__(self) -> None:
        self.now: Phase = "load"

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        before, self.now = self.now, phase
        yield
        self.now = before  # not after an error: that is what is asked for then

    def follow(self, trainer: Any) -> None:
        """From now on it is a training step: its forward pass, except within what is told apart here."""
        self.now = "forward"
        backward = trainer.accelerator.backward

        def told(*arguments: Any, **options: Any) -> Any:
            with self.during("backward"):
                return backward(*arguments, **options)

        trainer.accelerator.backward = told
        trainer.add_callback(self)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any
    ) -> None:
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate's is a wrapper without hooks
        inner.register_step_pre_hook(lambda *_: self._enter("step"))
        inner.register_step_post_hook(lambda *_: self._enter("forward"))

    def _enter(self, phase: Phase) -> None:
        self.now = phase
