"""What a stage's forward pass holds in memory: its batch, its logits, the sampling of a PPO rollout."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.methods.footprint import Footprint
from trainables.models.decoder_shape import Shape
from trainables.models.decoder_shape import of as shape_of

if TYPE_CHECKING:
    from trainables.config.trained_model import Trained
    from trainables.methods.footprint import Footprint


@dataclass(frozen=True)
class WholeLogits:
    """The logits of all labelled tokens at once, as TRL's preference trainers have them; bytes each.

    ``kept`` until the backward pass, ``forward`` and ``backward`` for a moment in those, ``reference`` where the
    reference policy answers in the same step; ``entropy``: whether that of the answers is logged. ``cast`` is what
    there is while autocast still holds its copies of weights, where it ends before the loss begins.
    """

    kept: float = 4
    forward: float = 4
    backward: float = 8
    reference: float = 0
    entropy: bool = False
    cast: float | None = None


@dataclass(frozen=True)
class Batch:
    """``rows`` sequences of ``tokens`` tokens each in one forward pass; ``labels`` of all tokens bear a loss, and none
    where the model predicts no tokens. ``logits``: all of them at once, and not chunk by chunk. ``round``: what comes
    before, where answers are sampled.
    """

    rows: int
    tokens: int
    labels: int
    logits: WholeLogits | None = None
    round: Round | None = None

    @property
    def all(self) -> int:
        return self.rows * self.tokens


@dataclass(frozen=True)
class RewardModel:
    """What a reward trial leaves: an ``adapter`` on the policy's base, or a ``whole`` model beside it.

    With neither said its cell hasn't run yet, and it is taken to be what a reward trial of the policy's own method
    leaves: an adapter as large as the policy's or, where no adapter could stand on the base, a whole model.
    """

    adapter: Footprint | None = None
    whole: Shape | None = None

    @classmethod
    def of(cls, trained: Trained) -> RewardModel:
        """Raises ``Unforeseen`` for a whole model whose numbers can't be told."""
        folder = trained.folder
        if folder is None or not folder.is_dir():
            return cls()
        if trained.is_adapter:
            return cls(adapter=_adapter(_read(folder / "adapter_config.json")))
        return cls(whole=shape_of(_read(folder / "config.json")))

    def known(self, taken: Footprint, shape: Shape, stays: bool) -> RewardModel:
        """What it is beside a policy of which so much is taken; ``stays``: whether the base stays as it is."""
        if self.adapter is not None or self.whole is not None:
            return self
        return RewardModel(adapter=taken) if stays else RewardModel(whole=shape)

    def held(self, shape: Shape, width: int, device: str) -> int:
        """Its weights, of so many bytes each; an adapter is on a base of that shape, its head in 32 bits.

        On a CPU a whole model stays mapped from its file, and of its embedding only the rows of tokens that come are
        read: next to nothing.
        """
        if self.whole is not None:
            unread = self.whole.embedding_params if device == "cpu" else 0
            return width * (replace(self.whole, rewards=True).params - unread)
        return width * self.adapter.adapter_params(shape) + 4 * shape.hidden if self.adapter else 0


def _adapter(config: dict[str, Any]) -> Footprint | None:
    """``None`` where its layers are given by a pattern, which says nothing without the model."""
    targets = config["target_modules"]
    if isinstance(targets, str):
        return None
    return Footprint(rank=config["r"], adapted=frozenset(name.rpartition(".")[2] for name in targets))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@dataclass(frozen=True)
class Round:
    """``rows`` answers of ``new`` tokens are sampled together, and judged as many at a time as an update takes.

    ``reward``: what rewards them; ``None`` for a rule, which takes nothing.
    """

    rows: int
    new: int
    reward: RewardModel | None = None
