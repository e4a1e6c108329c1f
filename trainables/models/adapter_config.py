"""An adapter's ``adapter_config.json``, which may be somebody else's: what no adapter has is refused before PEFT builds
layers by it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.config import limits
from trainables.models.config_sizes import MAX_ENTRIES
from trainables.models.folder import ModelError, read_json, tensor_shapes

FILE_NAME = "adapter_config.json"
DEFAULT_RANK = DEFAULT_ALPHA = 8  # PEFT's, of an adapter whose config has none
ZERO_RANK = ("OFT",)  # of adapters whose size another option gives
ADALORA = "ADALORA"
MAX_LAYERS = 1_000  # of a model whose layers are repeated
MAX_CHARACTERS = 2**16  # of a text, as a pattern for names
MAX_NUMBER = 2**31
NAMES = ("target_modules", "target_parameters", "exclude_modules", "modules_to_save", "layers_pattern")
PATTERNS = ("target_modules", "exclude_modules", "layers_pattern")  # of these, that may be one text


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """The config of the adapter in a folder. Raises ``ModelError`` with the file, the key and the limit where it has
    values that no adapter has.
    """
    path = folder / FILE_NAME
    config = read_json(path)
    problem = (
        _absurd_value(config) or _wrong_names(config) or _wrong_numbers(config) or _too_large(config, folder)
    )
    if problem is not None:
        raise ModelError(f"{path}: {problem}. Put the adapter's own file there.")
    return config


def _absurd_value(config: Mapping[str, Any]) -> str | None:
    left: list[tuple[str, Any]] = list(config.items())
    while left:
        key, value = left.pop()
        if isinstance(value, dict | list) and len(value) > MAX_ENTRIES:
            return f"{key} has {len(value)} entries, and at most {MAX_ENTRIES} are possible"
        if isinstance(value, str) and len(value) > MAX_CHARACTERS:
            return f"{key} has {len(value)} characters, and at most {MAX_CHARACTERS} are possible"
        if isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
            return f"{key} is {str(value)[:30]}, and at most {MAX_NUMBER} is possible"
        if isinstance(value, dict):
            left += [(f"{key}.{name}"[:200], inner) for name, inner in value.items()]
        elif isinstance(value, list):
            left += [(key, inner) for inner in value]
    return None


def _wrong_names(config: Mapping[str, Any]) -> str | None:
    for key in NAMES:
        value = config.get(key)
        is_list = isinstance(value, list) and all(isinstance(name, str) for name in value)
        if value is not None and not is_list and not (isinstance(value, str) and key in PATTERNS):
            return f"{key} is {str(value)[:30]}, and a list of names is needed"
    return None


def _wrong_numbers(config: Mapping[str, Any]) -> str | None:
    lowest = 0 if config.get("peft_type") in ZERO_RANK else 1
    for key, rank in _ranks(config):
        if type(rank) is not int or not lowest <= rank <= limits.RANK:
            return f"{key} is {str(rank)[:30]}, and a whole number from {lowest} to {limits.RANK} is needed"
    for key, alpha in _by_layer(config, "lora_alpha", "alpha_pattern"):
        if not isinstance(alpha, int | float) or isinstance(alpha, bool) or not math.isfinite(alpha):
            return f"{key} is {str(alpha)[:30]}, and a number is needed"
    return None


def _ranks(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The rank of all layers, and of those that have their own: AdaLoRA says which of its first ranks are left."""
    if config.get("peft_type") != ADALORA:
        yield from _by_layer(config, "r", "rank_pattern")
        return
    for key, rank in _by_layer(config, "init_r", "rank_pattern"):
        kept = isinstance(rank, list) and all(isinstance(each, bool) for each in rank)
        yield key, max(1, sum(rank)) if kept else rank


def _by_layer(config: Mapping[str, Any], key: str, pattern: str) -> Iterator[tuple[str, Any]]:
    """A setting's value for all layers, and those for layers that have their own."""
    if config.get(key) is not None:
        yield key, config[key]
    own = config.get(pattern)
    if isinstance(own, dict):
        yield from ((f"{pattern}.{name}"[:200], value) for name, value in own.items())
    elif own is not None:
        yield pattern, own


def _too_large(config: Mapping[str, Any], folder: Path) -> str | None:
    """Ranks above those of the weights, and layers without end: PEFT would make them up."""
    ranks = [
        shape[0]
        for file in folder.glob("*.safetensors")
        for name, shape in tensor_shapes(file).items()
        if ".lora_A." in name and shape
    ]
    for key, rank in _ranks(config):
        if ranks and rank > max(ranks):
            return f"{key} is {rank}, and the adapter's weights have {max(ranks)}"
    repeated = config.get("layer_replication")
    try:
        layers = sum(end - start for start, end in repeated or ())
    except (TypeError, ValueError):
        return f"layer_replication is {str(repeated)[:30]}, and pairs of layers are needed"
    if layers > MAX_LAYERS:
        return f"layer_replication makes {layers} layers, and at most {MAX_LAYERS} are possible"
    return None
