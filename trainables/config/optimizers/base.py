"""The interface of every optimizer's settings: what transformers calls it, and how many bytes its state takes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

from trainables.config.base import Frozen

FP32 = 4


@dataclass(frozen=True)
class TrainedTensor:
    """``count`` weights of one shape that train, and what they belong to; a head that is the embedding is an
    embedding.
    """

    shape: tuple[int, ...]
    count: int = 1
    part: Literal["layers", "embedding", "head"] = "layers"

    @property
    def size(self) -> int:
        """The numbers in one of them."""
        return math.prod(self.shape)

    @property
    def hidden_matrix(self) -> bool:
        """Whether it is a matrix between the embedding and the head, the only ones that Muon and GaLore see as such."""
        return len(self.shape) == 2 and self.part == "layers"


class TrainSettings(Protocol):
    """The settings of training that an optimizer may conflict with; ``config.train.TrainConfig`` has them."""

    @property
    def gradient_accumulation(self) -> int: ...
    @property
    def max_grad_norm(self) -> float | None: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def precision(self) -> str: ...
    @property
    def retry_out_of_memory(self) -> bool: ...


class OptimizerSettings(Frozen, ABC):
    """The settings of one optimizer. Subclasses add ``kind`` and implement the abstract methods.

    An optimizer that transformers does not build has its torch class in ``trainables.training.optimizers``.
    """

    updates_in_backward: ClassVar[bool] = (
        False  # whether each weight is updated as soon as its gradient is there
    )
    groups_matrices: ClassVar[bool] = (
        False  # whether matrices between embedding and head are groups of their own
    )
    has_schedule: ClassVar[bool] = True  # whether the learning rate follows ``train.scheduler``
    # What a learning rate that suits AdamW is multiplied by to suit it; None: AdamW's says nothing about it.
    adam_rate_factor: ClassVar[float | None] = 1.0
    counts_steps_together: ClassVar[bool] = False  # whether one count of steps is for all weights of a group
    # Of the settings, those that decide how much memory it takes; `memory_form` has more.
    memory_settings: ClassVar[frozenset[str]] = frozenset({"kind", "bits", "paged", "rank", "nesterov"})
    capability: ClassVar[str | None] = None  # what the machine must have, by its name in ``capabilities``

    @property
    def shardable(self) -> bool:
        """Whether workers can share its state (FSDP)."""
        return False

    @property
    def pages_state(self) -> bool:
        """Whether a GPU's driver moves its state to the machine's memory and back."""
        return bool(getattr(self, "paged", False))

    def memory_form(self) -> Self:
        """The optimizer with the settings that its memory depends on, and defaults for all others."""
        return type(self)(**{name: value for name, value in self if name in self.memory_settings})

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of transformers' ``TrainingArguments``, which matter where it builds this optimizer."""
        return {}

    @abstractmethod
    def tensor_bytes(self, tensor: TrainedTensor, width: int) -> float:
        """Bytes of state for one tensor whose numbers take ``width`` bytes, step counters aside."""

    def state_bytes(self, tensors: Iterable[TrainedTensor], width: int) -> int:
        """Bytes of state for all weights that train, step counters aside."""
        return int(sum(tensor.count * self.tensor_bytes(tensor, width) for tensor in tensors))

    def update_bytes(
        self, tensors: Iterable[TrainedTensor], width: int, device: str, train: TrainSettings
    ) -> int:
        """The most bytes that an update of the weights takes for a moment, beside weights, gradients and state.

        ``device``: "cpu" or "cuda". By default that of the tensor with the largest :meth:`tensor_update_bytes`, as
        tensors are updated one after another.
        """
        return int(max((self.tensor_update_bytes(each, width, device, train) for each in tensors), default=0))

    def tensor_update_bytes(
        self, tensor: TrainedTensor, width: int, device: str, train: TrainSettings
    ) -> float:
        """The same for one tensor whose numbers take ``width`` bytes."""
        return 0

    def problems(self, train: TrainSettings) -> Iterator[tuple[str, str]]:
        """(setting of ``train``, what is wrong) for each conflict with the other settings of training."""
        yield from ()


def optim_args(**options: float | int | str | None) -> str:
    """Options as transformers reads them, ``name=value,name=value``; those that are ``None`` are left out.

    >>> optim_args(beta1=0.9, t_alpha=None)
    'beta1=0.9'
    """
    return ",".join(f"{name}={value!r}" for name, value in options.items() if value is not None)
