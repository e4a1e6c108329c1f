"""The phase that a trial is in, so that running out of memory is reported with where it happened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from trainables.config.optimizers.unwrapped import unwrapped
from trainables.results import Phase


class Phases(TrainerCallback):
    """The current phase of a trial, ``load`` at first. After an error it is the phase in which the error happened.

    >>> phases = Phases()
    >>> with phases.during("eval"):
    ...     phases.current
    'eval'
    >>> phases.current
    'load'
    """

    def __init__(self) -> None:
        self.current: Phase = "load"

    @contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Sets the phase for a block."""
        before, self.current = self.current, phase
        yield
        self.current = before  # no finally: after an error the phase has to stay

    def track(self, trainer: Any) -> None:
        """Follows a trainer through its steps: forward pass, backward pass and optimizer step."""
        self.current = "forward"
        backward = trainer.accelerator.backward

        def tracked_backward(*arguments: Any, **options: Any) -> Any:
            with self.during("backward"):
                return backward(*arguments, **options)

        # transformers has no callback around the backward pass. Checked with transformers 5.24 and accelerate 1.15.
        trainer.accelerator.backward = tracked_backward
        trainer.add_callback(self)

    def on_train_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any
    ) -> None:
        inner = unwrapped(optimizer)
        inner.register_step_pre_hook(lambda *_: self._enter("step"))
        inner.register_step_post_hook(lambda *_: self._enter("forward"))

    def _enter(self, phase: Phase) -> None:
        self.current = phase
