"""Adapters whose start was taken out of the base's weights, saved as a plain LoRA for the unchanged base."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def save_as_plain_lora(model: Any, folder: Path, dtype: torch.dtype) -> None:
    """Saves [trained, -start] as one adapter of twice the rank, which fits the unchanged base.

    The base is W = W' + B0 A0 and the policy is W' + B A, so the change is B A - B0 A0. PEFT's conversion leaves
    out modules that are trained whole; they are added afterwards.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import load_file, save_file

    with tempfile.TemporaryDirectory() as temporary:
        start = Path(temporary)
        config = copy.copy(model.peft_config[model.active_adapter])
        # Otherwise PEFT would take the start out of the base's weights once more when it loads it.
        config.init_lora_weights = True
        config.save_pretrained(start)
        weights = {name: tensor.to(dtype).contiguous() for name, tensor in model.adapter_at_start.items()}
        save_file(weights, start / "adapter_model.safetensors")
        model.save_pretrained(folder, path_initial_model_for_weight_conversion=str(start))
    saved = folder / "adapter_model.safetensors"
    trained_whole = {
        name: tensor for name, tensor in get_peft_model_state_dict(model).items() if "lora_" not in name
    }
    save_file(trained_whole | load_file(saved), saved, metadata={"format": "pt"})
