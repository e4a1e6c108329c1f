"""Models without values, on torch's meta device: what a config alone says of a model's modules."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainables.models.architecture.model_classes import is_encoder


def blueprint(config: Any) -> Any:
    """The causal language model that transformers has for a config of its own, or for the contents of ``config.json``;
    of an encoder the model that predicts masked tokens.

    ``None`` where only the model's own code could make it, or its class doesn't take the config.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    try:
        if isinstance(config, Mapping):
            config = _read_config(config)
        if getattr(config, "auto_map", None):
            return None
        loader = AutoModelForMaskedLM if is_encoder(config.to_dict()) else AutoModelForCausalLM
        with torch.device("meta"):
            # In 16 bits, since some products of experts take no others without values.
            return loader.from_config(config, dtype=torch.bfloat16)
    except Exception:  # a config that its class doesn't take raises anything; loading says what is wrong
        return None


def _read_config(contents: Mapping[str, Any]) -> Any:
    """The config of a ``config.json``, which writes numbers such as infinity in a way that only its reader knows."""
    from transformers import CONFIG_MAPPING

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.json"
        file.write_text(json.dumps(contents), encoding="utf-8")
        return CONFIG_MAPPING[contents["model_type"]].from_pretrained(folder, local_files_only=True)
