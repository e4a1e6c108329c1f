"""Models without values, on torch's meta device: what a config alone says of a model's modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def blueprint(config: Any) -> Any:
    """The causal language model that transformers has for a config of its own, or for the contents of ``config.json``.

    ``None`` where only the model's own code could make it, or its class doesn't take the config.
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    try:
        if isinstance(config, Mapping):
            config = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
        if getattr(config, "auto_map", None):
            return None
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)
    except Exception:  # a config that its class doesn't take raises anything; loading says what is wrong
        return None
