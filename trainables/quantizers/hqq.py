"""HQQ: half-quadratic quantization, 1 to 8 bits, without calibration (Badri & Shaji, 2023,
https://mobiusml.github.io/hqq_blog/).

Through the package's own layers: transformers' way into it is closed ("QuantizationMethod.HQQ is not available yet").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.quantizers.base import QuantizationFailed, QuantizationSettings, Quantizer
from trainables.quantizers.bnb import let_go_of_the_file

if TYPE_CHECKING:
    from torch import Tensor, nn

    from trainables.models.decoder_shape import Shape
    from trainables.models.precision import Dtypes


class HQQ(Quantizer):
    """Groups of ``group_size`` weights, each with a scale and a zero of 16 bits. 5 and 6 bits are stored in 8."""

    bits: ClassVar[tuple[int, ...]] = (1, 2, 3, 4, 5, 6, 8)
    own: ClassVar[tuple[str, ...]] = ("group_size",)
    stores_linear: ClassVar[bool] = False

    def need(self, settings: QuantizationSettings) -> str:
        return "hqq"

    def load_options(self, settings: QuantizationSettings, dtypes: Dtypes) -> dict[str, Any]:
        # In full only in the machine's memory: layer by layer it goes to the GPU, quantized.
        return {"device_map": {"": "cpu"}}

    def quantize(self, settings: QuantizationSettings, model: Any, dtypes: Dtypes) -> None:
        import torch
        from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
        from torch import nn

        where = "cuda" if torch.cuda.is_available() else "cpu"
        plan = BaseQuantizeConfig(nbits=settings.bits, group_size=settings.group_size, axis=1)
        heads = {id(module) for module in (model.get_output_embeddings(), getattr(model, "score", None))}
        for name, module in list(model.named_modules()):
            if not isinstance(module, nn.Linear) or id(module) in heads:
                continue
            if module.in_features % settings.group_size:
                raise QuantizationFailed(
                    f"{name} has rows of {module.in_features} weights, which groups of {settings.group_size} don't "
                    "fill; choose another group_size"
                )
            quantized = HQQLinear(module, plan, del_orig=False, compute_dtype=dtypes.compute, device=where)
            # Else each layer would keep a reference to what it was made of.
            quantized.linear_layer = None
            quantized.W_q = nn.Parameter(quantized.W_q, requires_grad=False)
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, quantized)
        let_go_of_the_file(model)
        model.to(where)
        model.hqq_quantized = True  # what PEFT looks for

    def is_quantized(self, module: nn.Module) -> bool:
        return type(module).__name__ == "HQQLinear"

    def constants(self, module: Any) -> Iterable[Tensor]:
        yield from (module.meta["scale"], module.meta["zero"])

    def bytes_per_weight(self, settings: QuantizationSettings, shape: Shape) -> float:
        stored = {3: 32 / 10, 5: 8, 6: 8}.get(settings.bits, settings.bits)  # ten of 3 bits in a word of 32
        return stored / 8

    def constants_per_weight(self, settings: QuantizationSettings, shape: Shape) -> float:
        return 2 * 2 / settings.group_size

    def label(self, settings: QuantizationSettings) -> str:
        return f"hqq{settings.bits}bit"
