"""What a traced step depends on, and what tracing finds; without torch, since ``paretune plan`` reads both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, replace
from typing import TYPE_CHECKING, Any

from trainables.config.optimizers import TrainedTensor
from trainables.methods.own_code import is_own_kind
from trainables.storage import files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainables.stages.base import Task
    from trainables.stages.forward_pass import Batch
    from trainables.trial.config import TrialConfig

# Of a method, what decides neither which weights train nor what a forward pass keeps.
WITHOUT_MEMORY = ("name", "alpha", "rslora", "loraplus_ratio", "init")
# Of a model's config.json, what decides nothing about its layers.
WITHOUT_LAYERS = (
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "architectures",
    "use_cache",
)


@dataclass(frozen=True)
class TracedCase:
    """One forward and backward pass of ``rows`` rows of ``tokens`` tokens through a model with a method attached.

    ``model``: its ``config.json``. ``attention``: transformers' name of the implementation. ``outputs``: of a head that
    replaces the one that predicts tokens.
    """

    model: Mapping[str, Any]
    method: Mapping[str, Any]
    task: Task
    rows: int
    tokens: int
    attention: str
    precision: str
    dtype: str
    checkpointing: bool
    outputs: int | None = None

    @classmethod
    def of_trial(
        cls, config: TrialConfig, model: Mapping[str, Any], batch: Batch, attention: str
    ) -> TracedCase:
        """The case of one worker's ``batch`` in a trial that trains a model with this ``config.json``."""
        assert config.method is not None
        method = config.method.model_dump(mode="json")
        own = is_own_kind(method["kind"])  # whose settings may mean anything
        without = ("name",) if own else WITHOUT_MEMORY
        method = {name: value for name, value in method.items() if name not in without}
        if method.get("dropout") and not own:
            method["dropout"] = 0.5  # its mask has the same size for every rate
        return cls(
            {name: value for name, value in model.items() if name not in WITHOUT_LAYERS},
            method,
            config.stage.task,
            batch.rows,
            batch.tokens,
            "sdpa" if attention.startswith("flash") else attention,  # which keeps the same tensors
            config.train.precision,
            config.model.dtype,
            config.train.gradient_checkpointing,
            batch.outputs,
        )

    def key(self) -> str:
        """A hash of the case, in hex."""
        return files.sha256(asdict(self))


@dataclass(frozen=True)
class WeightSizes:
    """Numbers of weights by what becomes of them.

    ``trained`` and ``frozen`` ones of the base model, ``adapters``, and ``quantized`` ones, which belong to linear
    layers with ``quantized_outputs`` outputs. ``frozen_bytes``: of the frozen ones, and of buffers.
    """

    trained: int = 0
    frozen: int = 0
    frozen_bytes: int = 0
    adapters: int = 0
    quantized: int = 0
    quantized_outputs: int = 0

    def __add__(self, other: WeightSizes) -> WeightSizes:
        return WeightSizes(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: WeightSizes) -> WeightSizes:
        return WeightSizes(*(one - two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def training(self) -> int:
        """All that train."""
        return self.trained + self.adapters


@dataclass(frozen=True)
class LayerTrace:
    """What one decoder layer does to the memory in use, in bytes.

    ``kept``: what it keeps for the backward pass; ``forward``: what it leaves while the forward pass lasts, which may
    be more (autocast's copies of weights). ``forward_peak`` and ``backward_peak``: the most that is in use during its
    pass, above what was when the pass began. ``tensors``: those of its weights that train, each for itself.
    """

    kept: int
    forward: int
    forward_peak: int
    backward_peak: int
    weights: WeightSizes
    tensors: tuple[TrainedTensor, ...] = ()


@dataclass(frozen=True)
class HeadTrace:
    """The head that predicts tokens: (vocab, ``hidden``) ``params``, of which all or none train; 0 for a reward head.

    ``tied``: whether it is the embedding. ``alone``: whether its product with the hidden states is all there is to the
    logits.
    """

    hidden: int
    params: int = 0
    trains: bool = False
    tied: bool = False
    alone: bool = True


@dataclass(frozen=True)
class Trace:
    """A traced pass: ``kinds`` of decoder layers, and ``layers``, which says the kind of each layer, first to last.

    ``outside``: all that is no decoder layer. Its ``forward_peak`` is that of what comes before the first layer, and so
    is its ``backward_peak``, in the last moment of the backward pass. ``last_norm_peak``: the most that is in use
    between the head and the layers of the backward pass.
    """

    kinds: tuple[LayerTrace, ...]
    layers: tuple[int, ...]
    outside: LayerTrace
    last_norm_peak: int
    head: HeadTrace

    @property
    def weights(self) -> WeightSizes:
        """Of the whole model."""
        return sum((self.kinds[kind].weights for kind in self.layers), self.outside.weights)

    @property
    def tensors(self) -> Iterator[TrainedTensor]:
        """The weights that train, as far as an optimizer's state depends on them."""
        yield from self.outside.tensors
        for kind, layers in Counter(self.layers).items():
            for tensor in self.kinds[kind].tensors:
                yield replace(tensor, count=layers)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Trace:
        return cls(
            kinds=tuple(map(_layer_from_json, values["kinds"])),
            layers=tuple(values["layers"]),
            outside=_layer_from_json(values["outside"]),
            last_norm_peak=values["last_norm_peak"],
            head=HeadTrace(**values["head"]),
        )


def _layer_from_json(values: Mapping[str, Any]) -> LayerTrace:
    tensors = (
        TrainedTensor(**{**each, "shape": tuple(each["shape"])})  # lists in JSON
        for each in values["tensors"]
    )
    return LayerTrace(**{**values, "weights": WeightSizes(**values["weights"]), "tensors": tuple(tensors)})
