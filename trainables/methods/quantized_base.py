"""What methods share whose base may be held in few bits: how it is quantized, checked and loaded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trainables.methods import inspection
from trainables.methods.base import FineTuning
from trainables.models.architecture.blueprint import blueprint
from trainables.models.folder import ends_in
from trainables.quantizers import check_quantized
from trainables.quantizers.base import QuantizationFailed, share_problem
from trainables.quantizers.kept_layers import kept_layers
from trainables.quantizers.quantization import SETTINGS, Quantization

if TYPE_CHECKING:
    from torch import nn

    from trainables.models.folder import Architecture
    from trainables.models.precision import Dtypes


class QuantizedBase(FineTuning):
    """A method with some or all of ``quantization.SETTINGS`` as its own; without ``bits`` the base is not quantized.

    It stands before the class that says what trains among a method's bases.
    """

    @property
    def base_form_settings(self) -> tuple[str, ...]:
        if getattr(self, "bits", None) is None:
            return ()
        return tuple(name for name in SETTINGS if name in type(self).model_fields)

    @property
    def quantization(self) -> Quantization | None:
        form = {name: getattr(self, name) for name in self.base_form_settings}
        return Quantization(**form) if form else None

    def quantization_problem(self, architecture: Architecture) -> str | None:
        """Why the model can't be quantized so; ``None`` where it can."""
        if self.quantization is None or architecture.plain:
            return None
        return _quantization_problem(self.quantization, json.dumps(architecture.config))

    def quantization_problems(
        self, architecture: Architecture, trained_whole: Sequence[str] = ()
    ) -> Iterator[tuple[str, str]]:
        """(setting, what is wrong) of a model to be quantized, of which the modules ``trained_whole`` train."""
        if self.quantization is None:
            return
        if (problem := self.quantization_problem(architecture)) is not None:
            yield "bits", problem
        # What stands in a numbered layer is quantized; embeddings and heads aren't.
        quantized = [module for module in architecture.matrices if any(map(str.isdigit, module.split(".")))]
        for name in trained_whole:
            if any(ends_in(module, name) for module in quantized):
                yield (
                    "modules_to_save",
                    f"{name} is quantized, so it can't train itself; give it an adapter (targets)",
                )

    def without_effect(self) -> Iterator[tuple[str, str]]:
        if (quantization := self.quantization) is not None:
            for key in quantization.quantizer.unused_settings(quantization):
                yield key, f"{quantization.backend} doesn't use it with {quantization.bits} bits"

    def needs(self) -> Iterator[tuple[str, str]]:
        if (quantization := self.quantization) is not None:
            yield "backend", quantization.quantizer.capability(quantization)

    def load_options(self, dtypes: Dtypes, config: Any = None) -> dict[str, Any]:
        if (quantization := self.quantization) is None:
            return {}
        kept = () if config is None else kept_layers(config)
        return quantization.quantizer.load_options(quantization, dtypes, kept)

    def prepare(self, model: nn.Module, dtypes: Dtypes) -> None:
        if (quantization := self.quantization) is not None:
            quantization.quantizer.quantize(quantization, model, dtypes)
            check_quantized(quantization.quantizer, model)

    def _packed(self, module: nn.Module) -> Mapping[str, int]:
        """The weights that a module's packed parameters stand for; none in a base that isn't quantized."""
        return {} if self.quantization is None else self.quantization.quantizer.packed(module)


@lru_cache(maxsize=64)
def _quantization_problem(quantization: Quantization, config: str) -> str | None:
    """Why a model with this ``config.json`` can't be quantized, found on one without values; ``None`` where it can."""
    from trainables.models.architecture.weight_reader import model_weights
    from trainables.models.precision import choose_dtypes

    model = blueprint(json.loads(config))
    if model is None:
        return None
    quantizer, kept = quantization.quantizer, kept_layers(model.config)
    try:
        if quantizer.replace_layers(quantization, model, choose_dtypes("bf16", "bfloat16"), kept):
            check_quantized(quantizer, model)
            return None
    except QuantizationFailed as error:
        return str(error)
    weights = inspection.quantizable(model_weights(model))
    return share_problem(weights, [weight for weight in weights if weight.packed])
