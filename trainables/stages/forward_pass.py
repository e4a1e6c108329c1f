"""What a stage's forward pass holds in memory: its batch, its logits, and the rollout before PPO's updates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trainables.methods.footprint import Footprint
from trainables.models.adapter_config import DEFAULT_RANK, read_adapter_config
from trainables.models.architecture.decoder_shape import DecoderShape
from trainables.models.architecture.decoder_shape import from_config as shape_of
from trainables.models.folder import read_json

if TYPE_CHECKING:
    from trainables.config.trained_model import TrainedModel


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
    """The ``tokens`` of a row's longest example, and how many tokens of the row bear a loss, ``labels``: of a pair those
    of both answers; ``None`` where it is not known.
    """

    tokens: int
    labels: int | None = None


@dataclass(frozen=True)
class Batch:
    """One forward pass over ``rows`` sequences of ``tokens`` tokens each.

    ``labels`` is how many of all tokens bear a loss; 0 for a model that gives rewards. ``logits`` is ``None`` where
    they are computed tile by tile. ``rollout``: the sampling before the updates, where answers are sampled.
    """

    rows: int
    tokens: int
    labels: int
    logits: WholeLogits | None = None
    rollout: Rollout | None = None

    @property
    def all_tokens(self) -> int:
        """Tokens of all rows, padding included."""
        return self.rows * self.tokens


@dataclass(frozen=True)
class RewardModelFootprint:
    """The size of a reward trial's result: an ``adapter`` on the policy's base, or a ``whole`` model beside it.

    With neither, the reward trial hasn't run yet. It is assumed to use the policy's method: its result is an adapter
    as large as the policy's or, where no adapter could stand on the base, a whole model.
    """

    adapter: Footprint | None = None
    whole: DecoderShape | None = None

    @classmethod
    def from_trained(cls, trained: TrainedModel) -> RewardModelFootprint:
        """Reads the size from a trained model's folder. Raises ``MemoryNotPredictable`` for an unknown architecture."""
        folder = trained.folder
        if folder is None or not folder.is_dir():
            return cls()
        if trained.is_adapter:
            return cls(adapter=_adapter_footprint(read_adapter_config(folder)))
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
            return width * (replace(self.whole, reward_head=True).params - unread)
        return width * self.adapter.adapter_params(shape) + 4 * shape.hidden if self.adapter else 0


def _adapter_footprint(config: dict[str, Any]) -> Footprint | None:
    """``None`` where PEFT's ``target_modules`` is a pattern, or not given: without the model it names no layers."""
    targets = config.get("target_modules")
    if not isinstance(targets, list):
        return None
    # A target may be a layer's whole path, whose last part is its kind; every layer is taken to have it.
    return Footprint(
        rank=config.get("r", DEFAULT_RANK), adapted=frozenset(name.rpartition(".")[2] for name in targets)
    )


@dataclass(frozen=True)
class Rollout:
    """``rows`` answers of ``new_tokens`` tokens each, sampled together; then scored one mini-batch at a time.

    ``reward`` is the model that rewards them; ``None`` for a rule, which takes no memory.
    """

    rows: int
    new_tokens: int
    reward: RewardModelFootprint | None = None
