"""The attention implementation and the fused kernels that run a model: Liger's (arXiv:2410.10989) or Unsloth's."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from trainables.models.architecture.flash_attention import FLASH
from trainables.models.architecture.model_classes import ALL_ATTENTION
from trainables.models.folder import ModelError
from trainables.system import capabilities
from trainables.tokenization.batching import SHORT_ROW

# Only the kernels of the layers: each stage computes its own loss, and only where there are labels.
LIGER_KERNELS = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


def choose_attention(
    requested: str,
    cutoff: int,
    device: str,
    supported: frozenset[str] = ALL_ATTENTION,
    in_16_bits: bool = True,
) -> str:
    """The attention implementation for a ``requested`` one; ``auto`` is the fastest that works.

    ``cutoff``: the longest row, in tokens. ``supported``: what the model's class supports. ``in_16_bits``: whether
    queries and keys are of 16 bits (:func:`attends_in_16_bits`), the only ones that FlashAttention takes. On a CPU,
    SDPA's backward pass costs more than the attention matrix of short rows.
    """
    if requested != "auto":
        return requested
    if device != "cpu" and in_16_bits:
        for flash in FLASH:
            if flash in supported and capabilities.check_capability(flash).works:
                return flash
    short = device == "cpu" and cutoff <= SHORT_ROW
    return "sdpa" if "sdpa" in supported and not short else "eager"


def attends_in_16_bits(precision: str, dtype: str) -> bool:
    """Whether queries and keys are of 16 bits in training and in scoring, which is in the dtype of the weights.

    >>> attends_in_16_bits("bf16", "float32")
    False
    """
    return precision == "pure_bf16" or (precision != "fp32" and dtype != "float32")


def choose_kernels(requested: str, settings: Any = None) -> str:
    """The kernels for ``requested`` ones; ``auto`` is Liger's where they work, else none.

    ``settings``: the config of the model, of which Liger may have no kernels.
    """
    if requested != "auto":
        return requested
    if not capabilities.check_capability("liger").works:
        return "none"
    return "liger" if settings is None or _liger_function(settings) is not None else "none"


def load_with_kernels(
    kernel: str, loader: Any, folder: Path, options: dict[str, Any], cutoff: int, trains_whole: bool
) -> Any:
    """The model in ``folder``, loaded by transformers' class ``loader``, with the kernels applied.

    ``cutoff``: the longest row, in tokens. ``trains_whole``: whether the base's own weights train. Raises
    ``ValueError`` for a model that Liger has no kernels for, and ``ModelError`` for one whose files lack weights.
    """
    from trainables.models.cpu_products import use_fast_products

    _undo_liger()
    use_fast_products()
    if kernel == "unsloth":
        return _load_with_unsloth(folder, options, cutoff, trains_whole)
    model, loaded = loader.from_pretrained(folder, output_loading_info=True, **options)
    _require_weights(folder, model, loaded["missing_keys"])
    if kernel == "liger":
        _apply_liger(model)
    return model


def _require_weights(folder: Path, model: Any, missing: Collection[str]) -> None:
    """Raises ``ModelError`` for weights that the model's class has and its files don't: they would be random.

    Only the head of a new reward model or classifier may be new.
    """
    from trainables.models.architecture.text_head import text_head

    weights = {name for name, _ in model.named_parameters()}
    new = tuple(f"{name}." for name in text_head(model))
    lost = sorted(name for name in missing if name in weights and not name.startswith(new))
    if lost:
        raise ModelError(
            f"{folder}: its files lack {len(lost)} of the {len(weights)} weights that {type(model).__name__} has, such "
            f"as {lost[0]}: they hold another model, or transformers can't read them as this one"
        )


# Modules of transformers with what they had, by name, in the place of what Liger has put there.
_before_liger: list[tuple[dict[str, Any], dict[str, Any]]] = []


def _apply_liger(model: Any) -> None:
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    module = vars(sys.modules[type(model.base_model).__module__])
    before = dict(module)
    # The layers exist already: other classes alone would only reach models that are loaded later.
    _apply_liger_kernel_to_instance(model=model, **_supported_kernels(_liger_patch(model)))
    replaced = {name: value for name, value in before.items() if module[name] is not value}
    _before_liger.append((module, replaced))


def _undo_liger() -> None:
    """Gives modules back what Liger has replaced: models that are loaded later would have its layers and functions."""
    while _before_liger:
        module, replaced = _before_liger.pop()
        module.update(replaced)


def _liger_patch(model: Any) -> Any:
    function = _liger_function(model.config)
    if function is None:
        kind = model.config.get_text_config().model_type
        raise ValueError(f"Liger has no kernels for {kind} models; use model.kernels: none")
    return function


def _liger_function(settings: Any) -> Any:
    """Liger's function that patches models of this config; ``None`` where it has none."""
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    return MODEL_TYPE_TO_APPLY_LIGER_FN.get(settings.get_text_config().model_type)


def _supported_kernels(apply: Any) -> dict[str, bool]:
    """Those of :data:`LIGER_KERNELS` that Liger has for the model that ``apply`` patches."""
    import inspect

    parameters = inspect.signature(apply).parameters
    return {name: value for name, value in LIGER_KERNELS.items() if name in parameters}


def _load_with_unsloth(folder: Path, options: dict[str, Any], cutoff: int, trains_whole: bool) -> Any:
    from unsloth import FastLanguageModel

    quantized = options.get("quantization_config")
    model, _ = FastLanguageModel.from_pretrained(
        model_name=str(folder),
        max_seq_length=cutoff,
        dtype=options["dtype"],
        load_in_4bit=bool(getattr(quantized, "load_in_4bit", False)),
        load_in_8bit=bool(getattr(quantized, "load_in_8bit", False)),
        full_finetuning=trains_whole,
        device_map=options.get("device_map"),
        trust_remote_code=options["trust_remote_code"],
        local_files_only=True,
    )
    return model
