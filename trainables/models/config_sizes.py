"""Sizes of a model, as its ``config.json`` or GGUF header has them, that no model has: a library would build layers of
them for hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Counts of layers, of which each one takes time. Other keys have "layer" in them, too, as layer_rope_theta.
LAYERS = re.compile(r"(^|_)(n_layers?|layers|depths?|blocks|block_count)$")
# The first pattern that is in a key counts. The largest numbers of models that are published are in brackets.
LIMITS = tuple(
    (pattern, limit)
    for pattern, limit in (
        (LAYERS, 1_000),  # (126)
        (re.compile(r"size|dim|vocab|embd|width|channel|rank|d_model|d_ff|ffn"), 2**31),  # (20,000,000)
        (re.compile(r"experts?$|expert_(used_)?count$"), 2**15),  # (16,384)
        (re.compile(r"heads?$|groups?$|head_count(_kv)?$"), 2**16),  # (256)
        (re.compile(r"position|length|context|ctx|seq|window"), 2**31),  # (10,485,760)
    )
)
# Of these, every model has one or more, or a list with one for each layer.
NEEDED = frozenset(
    {
        *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size"),
        *("embedding_length", "block_count", "head_count", "head_count_kv"),  # as GGUF calls them
    }
)
MAX_ENTRIES = 2**16  # of a list or mapping (names of 21,843 classes)
MAX_PATH = 200  # characters
EXPERTS = re.compile(r"experts$|expert_count$")
MAX_EXPERTS = 2**19  # of all layers together (393,216)


def absurd_size(config: Mapping[str, Any]) -> str | None:
    """A sentence on the first value that no model has, with its key and the limit; ``None`` where all can be.

    >>> absurd_size({"text_config": {"num_hidden_layers": 10**9}})
    'text_config.num_hidden_layers is 1000000000, and at most 1000 are possible'
    """
    values = list(_values(config))
    numbers = [(path, value) for path, value in values if _is_number(value)]
    for path, value in values:
        key = path.rpartition(".")[2]
        if isinstance(value, dict | list) and len(value) > MAX_ENTRIES:
            return f"{path} has {len(value)} entries, and at most {MAX_ENTRIES} are possible"
        if key in NEEDED and not isinstance(value, list | None) and not _is_size(value):
            return f"{path} is {_shown(value)}, and a whole number is needed"
    for path, number in numbers:
        key = path.rpartition(".")[2]
        limit = next((limit for pattern, limit in LIMITS if pattern.search(key)), None)
        if limit is not None and number > limit:
            return f"{path} is {_shown(number)}, and at most {limit} are possible"
    layers = max((number for path, number in numbers if LAYERS.search(path.rpartition(".")[2])), default=1)
    for path, number in numbers:
        if EXPERTS.search(path) and number * layers > MAX_EXPERTS:
            return f"{path} is {number} in {layers} layers, and at most {MAX_EXPERTS} in all are possible"
    return None


def _values(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each value with the keys that lead to it; those of a list have the list's."""
    # No recursion, as it may be nested as deep as JSON is read.
    left: list[tuple[str, Any]] = [("", config)]
    while left:
        path, value = left.pop()
        if isinstance(value, Mapping):
            left += [(f"{path}.{key}"[-MAX_PATH:].lstrip("."), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [(path, inner) for inner in value]
        if path:
            yield path, value


def _is_size(value: Any) -> bool:
    return _is_number(value) and value >= 0 and float(value).is_integer()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 30 else f"{text[:27]}..."
