"""The base model that a process keeps from trial to trial, so that the next one need not load and quantize it again.

A trial on a kept base gives bit for bit what it gives on one that was loaded for it: what the trial before did to the
model is undone, its weights are compared with what they were, and the generators of random numbers are set to the state
in which loading leaves them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.results import BaseOrigin
from trainables.training.trainer_setup import clean_process
from trainables.trial.config import TrialConfig
from trainables.trial.loading import base_key, can_be_kept, prepared_base
from trainables.trial.model_state import ModelState
from trainables.trial.random_state import RandomState
from trainables.trial.starting_weights import starting_folder


@dataclass(frozen=True)
class LentBase:
    """A base model for one trial, with its linear layers quantized if the method wants that.

    ``origin``: ``loaded`` for this trial, ``kept`` from the one before, or loaded because that one had ``changed`` it.
    """

    model: Any
    origin: BaseOrigin


@dataclass(frozen=True)
class _KeptBase:
    """A base model with all that decides whether another trial would load the same.

    ``random``: the generators of random numbers before and after loading, where that draws some (a new reward head).
    """

    model: Any
    key: str
    state: ModelState
    random: tuple[RandomState, RandomState] | None

    def suits(self, key: str) -> bool:
        return key == self.key and (self.random is None or self.random[0] == RandomState.now())


class ResidentBase:
    """Lends a base model to one trial after the other, and keeps it between them while they need the same one.

    Never are two in memory: one that a trial has no use for is dropped before another is loaded. So there must be no
    more than one ``ResidentBase`` in a process. A trial that ends with an exception leaves no base behind. Without
    ``keeps``, none does.

    >>> bases = ResidentBase()
    >>> with bases.lend(config, folder) as base:  # doctest: +SKIP
    ...     policy = attach(base.model, tokenizer, config, prepared=True)
    """

    def __init__(self, keeps: bool = True) -> None:
        self._keeps = keeps
        self._kept: _KeptBase | None = None  # between trials
        self._lent: _KeptBase | None = None  # during a trial that leaves it as it was
        self._origin: BaseOrigin = "loaded"
        self._loading_peak: int | None = None

    @property
    def bytes(self) -> int:
        """The bytes of the base that is kept between trials; 0 without one."""
        return self._kept.state.bytes if self._kept is not None else 0

    def drop(self) -> None:
        """Lets go of the base, also of one that is lent: it isn't kept then."""
        self._kept = self._lent = None

    def peak_of_loading(self, own: int | None) -> int | None:
        """The peak memory of loading the base that is lent, in bytes: this trial's ``own``, or that of the trial which
        loaded it.
        """
        if self._origin != "kept":
            self._loading_peak = own
        return self._loading_peak

    @contextmanager
    def lend(
        self, config: TrialConfig, run: Path, dropped: Callable[[], Any] = lambda: None
    ) -> Iterator[LentBase]:
        """The base model of a trial in the folder ``run``, for a block that trains and scores it.

        ``dropped`` is called where another base was kept, once its memory is free and before anything is loaded.
        Raises ``ModelError`` for a model that is missing or can't be used.
        """
        try:
            yield self._take(config, run, dropped)
        except BaseException:
            self.drop()
            raise
        if self._lent is not None:
            self._lent.state.restore()
        self._kept, self._lent = self._lent, None

    def _take(self, config: TrialConfig, run: Path, dropped: Callable[[], Any]) -> LentBase:
        # An adapter to start from is merged into a base of its own.
        folder = starting_folder(config.model, run, before_merging=lambda: self._make_room(config, dropped))
        key, stays = base_key(config, folder), self._keeps and can_be_kept(config)
        self._origin = self._checked(key)
        if self._origin != "kept":
            self._make_room(config, dropped)
        if self._kept is None:
            model, self._lent = _load(config, folder, key, stays)
            return LentBase(model, self._origin)
        kept, self._kept = self._kept, None
        if kept.random is not None:
            kept.random[1].restore()
        self._lent = kept if stays else None
        return LentBase(kept.model, self._origin)

    def _checked(self, key: str) -> BaseOrigin:
        """What a trial with this key gets."""
        if self._kept is None or not self._kept.suits(key):
            return "loaded"
        return "kept" if self._kept.state.is_unchanged() else "changed"

    def _make_room(self, config: TrialConfig, dropped: Callable[[], Any]) -> None:
        """Drops a kept base, and frees its memory: parts of a model refer to one another in circles."""
        if self._kept is not None:
            self.drop()
            clean_process(config.train.precision)
            dropped()


def _load(config: TrialConfig, folder: Path, key: str, stays: bool) -> tuple[Any, _KeptBase | None]:
    """A base model, and what it takes to lend it again if it ``stays``."""
    before = RandomState.now()
    model = prepared_base(config, folder)
    if not stays:
        return model, None
    after = RandomState.now()
    return model, _KeptBase(model, key, ModelState(model), (before, after) if before != after else None)
