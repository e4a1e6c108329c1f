"""What every fine-tuning method answers, and the answers that most of them share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.config.base import Frozen

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from trainables.methods.footprint import Footprint
    from trainables.models.decoder_shape import Shape
    from trainables.models.locate import Architecture
    from trainables.models.precision import Dtypes


class FineTuning(Frozen):
    """A method's config, which is its behaviour. Subclasses add ``kind`` and say what trains."""

    name: str | None = None  # what people call this entry; its label is used without one

    # Where a search starts, by the leaf's path within a cell. Learning rates: a LoRA wants about ten times
    # full fine-tuning's ("LoRA Without Regret", Thinking Machines Lab, 2025).
    prior: ClassVar[dict[str, Any]] = {}
    unshared: ClassVar[str | None] = None  # why workers can't share the weights, if they can't
    saves_adapter: ClassVar[bool] = False  # what fits on the base it was trained on, and nothing else
    prepares_by: ClassVar[tuple[str, ...]] = ()  # settings that decide in what form the base is held

    @property
    def label(self) -> str:
        """The method's part of a cell's name, before entries of one kind are told apart."""
        return self.name or str(self.kind)  # type: ignore[attr-defined]  # every subclass declares it

    @property
    def reference_stays(self) -> bool:
        """Whether ``reference`` still gives the untrained policy once training has begun.

        Where it doesn't, a stage computes the reference's log-probabilities before the first step.
        """
        return False

    def problems(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        """(leaf, what is wrong) for all that this model makes impossible; asked while planning."""
        yield from ()

    def needs(self) -> Iterator[tuple[str, str]]:
        """(leaf, what) for all that the machine must be able to do, by its name in ``capabilities``."""
        yield from ()

    def footprint(self, shape: Shape) -> Footprint:
        """What it trains and holds of a model of that shape."""
        raise TypeError(f"{type(self).__name__} does not say what it takes")

    def load_dtype(self, dtypes: Dtypes) -> torch.dtype:
        """The dtype the base is loaded in: the frozen weights', unless all of them train."""
        return dtypes.frozen

    def load_options(self, dtypes: Dtypes) -> dict[str, Any]:
        """Extra keyword arguments for ``from_pretrained``."""
        return {}

    def prepare(self, model: nn.Module, dtypes: Dtypes) -> None:
        """What is done to a loaded base before anything is put on it, as ``prepares_by`` says."""

    def attach(self, model: nn.Module, dtypes: Dtypes) -> nn.Module:
        """Marks what trains: freezes layers, adds adapters. Trainable weights end in ``dtypes.trainable``."""
        raise TypeError(f"{type(self).__name__} does not say what trains")

    @contextmanager
    def reference(self, model: nn.Module) -> Iterator[nn.Module]:
        """The policy before training. Valid while training only where ``reference_stays``."""
        yield model

    def optimizer(
        self, model: nn.Module, cls: type[torch.optim.Optimizer], options: dict[str, Any]
    ) -> torch.optim.Optimizer | None:
        """An optimizer with the method's own parameter groups, or ``None`` for the trainer's usual one."""
        return None

    def save(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype
    ) -> None:
        """Writes the trained weights or the adapter, in ``dtype``, and the tokenizer, to ``folder``."""
        raise TypeError(f"{type(self).__name__} does not say what it saves")


def reward_head(model: Any) -> nn.Module | None:
    """The head that gives a text its reward: new with every trial, so it trains with every method.

    ``None`` for a model that predicts tokens.
    """
    return getattr(model, "score", None)


def cast_trainable(model: nn.Module, dtype: torch.dtype) -> None:
    """Casts the weights that train, and those alone, to ``dtype``."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)


def save_whole(
    model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype, **options: Any
) -> None:
    """Saves a whole model as safetensors in ``dtype``; the model in memory stays as it is.

    ``options`` are ``save_pretrained``'s.
    """
    cast: dict[int, torch.Tensor] = {}  # by address, so that tied weights stay one tensor and are saved once
    state = {
        name: cast.setdefault(tensor.data_ptr(), tensor.to(dtype))
        for name, tensor in model.state_dict().items()
    }
    before = model.config.dtype
    model.config.dtype = dtype
    try:
        model.save_pretrained(folder, state_dict=state, **options)
    finally:
        model.config.dtype = before
    tokenizer.save_pretrained(folder)
