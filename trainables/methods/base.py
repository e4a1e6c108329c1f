"""The interface of every fine-tuning method, and the defaults that most of them share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.config.base import Frozen
from trainables.methods.own_code import own_code_identity

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn
    from transformers import PreTrainedTokenizerBase

    from trainables.config.train import TrainConfig
    from trainables.methods.footprint import Footprint
    from trainables.models.architecture.decoder_shape import DecoderShape
    from trainables.models.folder import Architecture
    from trainables.models.precision import Dtypes
    from trainables.quantizers.quantization import Quantization


class FineTuning(Frozen, ABC):
    """A method's config, which is its behaviour. Subclasses add ``kind`` and implement the abstract methods."""

    name: str | None = None  # the spec's name for this entry; its label is used without one

    # Where a search starts, by the setting's path within a cell. Learning rates: LoRA wants about ten times that of
    # full fine-tuning ("LoRA Without Regret", Thinking Machines Lab, 2025).
    prior: ClassVar[dict[str, Any]] = {}
    sharding_obstacle: ClassVar[str | None] = None  # why workers can't share the weights, if they can't
    workers_obstacle: ClassVar[str | None] = None  # why several workers can't train it, if they can't
    compile_obstacle: ClassVar[str | None] = None  # why its layers can't be compiled, if they can't
    # Whether what is saved fits only on the base that it was trained on.
    saves_adapter: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """The method's part of a cell's name, before entries of one kind are told apart."""
        # Of a class of one's own, ``module:Class``, the class.
        return self.name or str(self.kind).rpartition(":")[2]  # type: ignore[attr-defined]  # every subclass declares it

    @property
    def similarity(self) -> str:
        """The same where memory and time are similar: the label, and of one's own code its kind and its hash."""
        return f"{self.model_copy(update={'name': None}).label}{own_code_identity(self)}"

    @property
    def base_form(self) -> dict[str, Any]:
        """What decides in what form the base is held."""
        return {name: getattr(self, name) for name in self.base_form_settings}

    @property
    def base_form_settings(self) -> tuple[str, ...]:
        """The settings that decide in what form the base is held."""
        return ()

    @property
    def quantization(self) -> Quantization | None:
        """How the base is quantized; ``None`` where it isn't."""
        return None

    @property
    def reference_stays(self) -> bool:
        """Whether ``reference`` still gives the untrained policy once training has begun.

        Where it doesn't, a stage computes the reference's log-probabilities before the first step.
        """
        return False

    @property
    def keeps_base(self) -> bool:
        """Whether the base's own weights are after training what they were when they were loaded."""
        return False

    @property
    def adds_tokens(self) -> bool:
        """Whether the model puts tokens of its own before each row, so that rows can't share one."""
        return False

    @property
    def added_tokens(self) -> int:
        """How many positions these take before each row; 0 where the settings don't say it."""
        return 0

    @property
    def numbers_per_weight(self) -> int:
        """How many numbers the method keeps for each weight of an adapter, in its type, beside the optimizer's."""
        return 0

    def problems(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        """(setting, what is wrong) for everything that this model makes impossible; called while planning."""
        yield from ()

    def merge_obstacle(self, architecture: Architecture | None) -> str | None:
        """Why its adapter can't be merged into the model, as a stage that continues from it needs; ``None`` where it
        can, or where that is not known without the architecture.
        """
        return None

    @property
    def head_obstacle(self) -> str | None:
        """Why a new head for rewards or labels can't be trained, too; ``None`` where it can."""
        return None

    def training_obstacles(self, train: TrainConfig) -> Iterator[tuple[str, str]]:
        """(setting of ``train``, what is wrong) for everything that the method can't be trained with."""
        yield from ()

    def remarks(self, architecture: Architecture) -> Iterator[tuple[str, str]]:
        """(setting, what) that a person should know before training this model; called while planning."""
        yield from ()

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """(setting, why) for every setting that does nothing, whatever its value, because of the others."""
        yield from ()

    def needs(self) -> Iterator[tuple[str, str]]:
        """(setting, capability) for everything that the machine must support, by its name in ``capabilities``."""
        yield from ()

    @abstractmethod
    def footprint(self, shape: DecoderShape) -> Footprint:
        """What the method trains and keeps in memory of a model of that shape.

        Raises ``MemoryNotPredictable`` for settings that the prediction doesn't cover.
        """

    def footprint_over_time(self, shape: DecoderShape) -> Footprint:
        """The same of all that ever trains: a copy of the policy before training has all of it."""
        return self.footprint(shape)

    def load_dtype(self, dtypes: Dtypes) -> torch.dtype:
        """The dtype that the base is loaded in: the frozen weights', unless all of them train."""
        return dtypes.frozen

    def load_options(self, dtypes: Dtypes, config: Any = None) -> dict[str, Any]:
        """Extra keyword arguments for ``from_pretrained``. ``config``: transformers' config of the model to load."""
        return {}

    def prepare(self, model: nn.Module, dtypes: Dtypes) -> None:
        """Brings a loaded base into the form that ``base_form_settings`` ask for, before an adapter is attached."""

    @abstractmethod
    def attach(self, model: nn.Module, dtypes: Dtypes, begun: Path | None = None) -> nn.Module:
        """The model to train, of a base that is prepared: layers are frozen, adapters added. Trainable weights end up
        in ``dtypes.trainable``.

        ``begun``: a checkpoint that training goes on from, whose adapter decides which layers have one.
        """

    @property
    def examples_at_start(self) -> int:
        """How many training examples, the first of the data, the method looks at before the first step."""
        return 0

    def start_from(self, model: nn.Module, texts: Sequence[Sequence[int]]) -> None:
        """Sets the start of the attached ``model`` by so many examples, each a list of tokens; not where a trial is
        resumed, as its checkpoint holds all that followed.
        """

    @contextmanager
    def reference(self, model: nn.Module) -> Iterator[nn.Module]:
        """The policy before training. During training it is valid only where ``reference_stays``."""
        yield model

    def optimizer(
        self, model: nn.Module, cls: type[torch.optim.Optimizer], options: dict[str, Any]
    ) -> torch.optim.Optimizer | None:
        """An optimizer with parameter groups of the method's own, or ``None`` for the trainer's usual one."""
        return None

    def callbacks(self, model: nn.Module, dtypes: Dtypes, seed: int) -> list[Any]:
        """What the trainer shall call at its steps, as transformers' ``TrainerCallback``."""
        return []

    def heaviest_callbacks(self, model: nn.Module, dtypes: Dtypes, seed: int) -> list[Any]:
        """The same for steps that take as much memory as any of a trial, where steps differ."""
        return self.callbacks(model, dtypes, seed)

    def add_gradients(self, model: nn.Module) -> None:
        """Adds gradients of the method's own, which are no part of a stage's loss, to those of a step's batches."""

    @abstractmethod
    def save(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype
    ) -> None:
        """Writes the trained weights or the adapter, in ``dtype``, and the tokenizer to ``folder``."""


class TrainsModel(FineTuning):
    """A method that trains weights of the model's own, and saves the whole model."""

    def save(
        self, model: nn.Module, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype
    ) -> None:
        save_whole(model, tokenizer, folder, dtype)


def cast_trainable(model: nn.Module, dtype: torch.dtype) -> None:
    """Casts the weights that train, and no others, to ``dtype``."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            # The parameter stays the same object, since tied modules refer to it.
            parameter.data = parameter.data.to(dtype)


def save_whole(
    model: Any, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: torch.dtype, **options: Any
) -> None:
    """Saves a whole model as safetensors in ``dtype``; the model in memory keeps its own.

    ``options`` are those of ``save_pretrained``.
    """
    cast: dict[int, torch.Tensor] = {}  # by address, so that tied weights stay one tensor and are saved once
    state = {
        name: cast.setdefault(tensor.data_ptr(), tensor.to(dtype))
        for name, tensor in model.state_dict().items()
    }
    before = model.config.dtype
    try:
        model.save_pretrained(folder, state_dict=state, **options)
    finally:
        model.config.dtype = before
    _write_dtype(folder / "config.json", dtype)
    tokenizer.save_pretrained(folder)


def _write_dtype(path: Path, dtype: torch.dtype) -> None:
    """Puts the dtype of the saved weights into a saved config, into which transformers writes that of the model in
    memory: loaders that follow it would take another.
    """
    from trainables.storage import files

    config = json.loads(path.read_text(encoding="utf-8"))
    # A model of several parts has one for each.
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        if part is config or "dtype" in part:
            part["dtype"] = str(dtype).removeprefix("torch.")
    files.write_text(path, json.dumps(config, indent=2) + "\n")  # as transformers does, infinity included
