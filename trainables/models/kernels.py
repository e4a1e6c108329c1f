"""Which attention and which fused kernels run a model: Liger's (arXiv:2410.10989), or Unsloth's own way of loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainables.system import capabilities
from trainables.tokenization.batching import SHORT_ROW

# A loss is each stage's own, computed where there are labels; of Liger's kernels those of the layers are taken.
LIGER = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


def attention(asked: str, cutoff: int, device: str) -> str:
    """The attention that runs where ``asked`` is asked for: ``auto`` takes the quickest that works.

    On a CPU, SDPA's backward costs more than the attention matrix of short rows.
    """
    if asked != "auto":
        return asked
    if device == "cpu":
        return "eager" if cutoff <= SHORT_ROW else "sdpa"
    return "flash_attention_2" if capabilities.check("flash_attention_2").works else "sdpa"


def chosen(asked: str) -> str:
    """What runs where ``asked`` is asked for: ``auto`` takes Liger's where they work, else none."""
    if asked != "auto":
        return asked
    return "liger" if capabilities.check("liger").works else "none"


def loaded(
    kernel: str, loader: Any, folder: Path, options: dict[str, Any], cutoff: int, trains_whole: bool
) -> Any:
    """The model that ``loader`` makes of ``folder``, with the kernels in place.

    ``cutoff``: the longest row, in tokens. ``trains_whole``: whether the base's own weights are trained.
    """
    if kernel == "unsloth":
        return _by_unsloth(folder, options, cutoff, trains_whole)
    model = loader.from_pretrained(folder, **options)
    if kernel == "liger":
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(model=model, **_taken(_apply_for(model)))
    return model


def _apply_for(model: Any) -> Any:
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    kind = model.config.get_text_config().model_type
    if kind not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ValueError(f"Liger has no kernels for {kind} models; take model.kernels: none")
    return MODEL_TYPE_TO_APPLY_LIGER_FN[kind]


def _taken(apply: Any) -> dict[str, bool]:
    """Which of Liger's kernels to take; not every model has all of them."""
    import inspect

    known = inspect.signature(apply).parameters
    return {name: value for name, value in LIGER.items() if name in known}


def _by_unsloth(folder: Path, options: dict[str, Any], cutoff: int, trains_whole: bool) -> Any:
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
