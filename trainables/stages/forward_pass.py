"""What a stage's forward pass holds in memory: its batch, its logits, and the rollout before PPO's updates."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trainables.methods.footprint import Footprint
from trainables.models.adapter_config import DEFAULT_RANK, read_adapter_config
from trainables.models.architecture.decoder_shape import DecoderShape
from trainables.models.architecture.decoder_shape import from_config as shape_of
from trainables.models.folder import read_json, tensor_shapes

if TYPE_CHECKING:
    from pathlib import Path

    from trainables.config.trained_model import TrainedModel


HEAD = ".score."  # in the names of a reward head's weights


@dataclass(frozen=True)
class WholeLogits:
    """The logits of all labelled tokens at once, as trainers without a fused head compute them; in bytes per logit.

    ``kept`` until the backward pass; ``forward`` and ``backward`` for a moment in those passes.
    ``cast`` is what exists while autocast still holds its copies of weights, where autocast ends before the loss.
    """

    kept: float = 4
    forward: float = 4
    backward: float = 8
    cast: float | None = None


@dataclass(frozen=True)
class RowLength:
    """The ``tokens`` of a row's longest example, and how many tokens of the row bear a loss, ``labels``: of a pair
    those of both answers; ``None`` where it is not known.
    """

    tokens: int
    labels: int | None = None


@dataclass(frozen=True)
class Batch:
    """One forward pass over ``rows`` sequences of ``tokens`` tokens each.

    ``labels`` is how many of all tokens bear a loss; 0 where a head with ``outputs`` numbers for each row replaces the
    one that predicts tokens. ``logits`` is ``None`` where they are computed tile by tile. ``rollout``: the sampling
    before the updates, where answers are sampled.
    """

    rows: int
    tokens: int
    labels: int
    logits: WholeLogits | None = None
    rollout: Rollout | None = None
    outputs: int | None = None

    @property
    def all_tokens(self) -> int:
        """Tokens of all rows, padding included."""
        return self.rows * self.tokens


@dataclass(frozen=True)
class RewardModelFootprint:
    """The size of a reward trial's result: an ``adapter`` on the policy's base, of which the file has so many
    ``adapter_params``, or a ``whole`` model beside it.

    With neither, the reward trial hasn't run yet. It is assumed to use the policy's method: its result is an adapter
    as large as the policy's or, where no adapter could stand on the base, a whole model.
    """

    adapter: Footprint | None = None
    adapter_params: int | None = None
    whole: DecoderShape | None = None

    @classmethod
    def from_trained(cls, trained: TrainedModel) -> RewardModelFootprint:
        """Reads the size from a trained model's folder. Raises ``MemoryNotPredictable`` for an unknown architecture."""
        folder = trained.folder
        if folder is None or not folder.is_dir():
            return cls()
        if trained.is_adapter:
            return cls(_adapter_footprint(read_adapter_config(folder)), _saved_params(folder))
        return cls(whole=shape_of(read_json(folder / "config.json")))

    def resolve(self, policy: Footprint, shape: DecoderShape, reference_stays: bool) -> RewardModelFootprint:
        """The size beside a policy with such a footprint and shape, also of a reward trial that hasn't run yet."""
        if self.adapter is not None or self.whole is not None:
            return self
        # Where the reference stays, the base isn't trained, so that a reward adapter can stand on it.
        return RewardModelFootprint(adapter=policy) if reference_stays else RewardModelFootprint(whole=shape)

    def held_bytes(self, shape: DecoderShape, width: int, device: str) -> int:
        """Bytes of its weights, ``width`` bytes each; ``shape`` is the base's that an adapter stands on.

        An adapter's head (hidden,) is in 32 bits. On a CPU a whole model stays mapped from its file, and only the
        embedding rows of tokens that occur are read: next to nothing.
        """
        if self.whole is not None:
            unread = self.whole.embedding_params if device == "cpu" else 0
            return width * (replace(self.whole, outputs=1).params - unread)
        if self.adapter is None:
            return 0
        params = self.adapter_params
        return width * (self.adapter.adapter_params(shape) if params is None else params) + 4 * shape.hidden


def _adapter_footprint(config: dict[str, Any]) -> Footprint:
    """What an adapter's config says of it, where its weights are not there to be counted: every layer is taken to have
    each target, by the last part of its name. A pattern names no layers without the model.
    """
    targets = config.get("target_modules")
    names = targets if isinstance(targets, list) else []
    return Footprint(
        rank=config.get("r") or DEFAULT_RANK, adapted=frozenset(name.rpartition(".")[2] for name in names)
    )


def _saved_params(folder: Path) -> int | None:
    """How many numbers the file of an adapter has, without those of its head: some layers may have none, and each type
    has a form of its own. ``None`` where there is no file.
    """
    files = sorted(folder.glob("*.safetensors"))
    shapes = [item for file in files for item in tensor_shapes(file).items()]
    return sum(math.prod(shape) for name, shape in shapes if HEAD not in name) if files else None


@dataclass(frozen=True)
class Rollout:
    """``rows`` answers of ``new_tokens`` tokens each, sampled together; then scored one mini-batch at a time.

    ``reward`` is the model that rewards them; ``None`` for a rule, which takes no memory. ``learns_values``: whether a
    value head is trained beside the policy; ``has_reference``: whether the answers are scored by a reference, too.
    """

    rows: int
    new_tokens: int
    reward: RewardModelFootprint | None = None
    learns_values: bool = True
    has_reference: bool = True
