"""Suggests the known name that a person may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Names from other tools, and mistakes that are often copied.
SYNONYMS = {
    "fa2": "flash_attention_2",
    "fa3": "flash_attention_3",
    "flash_attn": "flash_attention_2",
    "flashattn2": "flash_attention_2",
    "disabled": "eager",
    "bitsandbytes": "bnb",
    "yam": "yarn",
    "dynatic": "dynamic",
    "ntk": "dynamic",
    "adamw_torch": "adamw",
    "adamw_torch_fused": "adamw",
    "adamw_hf": "adamw",
    "adam": "adamw",
    "adamw_bnb_8bit": "adamw_8bit",
    "paged_adamw_32bit": "paged_adamw",
    "cosine_with_restarts": "cosine",
    "bfloat16": "bf16",
    "float16": "fp16",
    "float32": "fp32",
    "pt": "pretrain",
    "rm": "reward",
}


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is most similar to ``name``; ``None`` if none is similar.

    >>> nearest("lroa", ["full", "lora"])
    'lora'
    >>> nearest("fa2", ["sdpa", "flash_attention_2"])
    'flash_attention_2'
    """
    lower = {candidate.lower(): candidate for candidate in known}
    text = str(name).lower()
    if (meant := SYNONYMS.get(text)) in lower:
        return lower[meant]
    # A known name with something appended: liger_kernel.
    prefixes = [candidate for candidate in lower if len(candidate) > 2 and text.startswith(candidate)]
    matches = difflib.get_close_matches(text, lower, n=1) or prefixes
    return lower[matches[0]] if matches else None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``". Did you mean lora?"``, to append to a sentence; an empty text if no known name is similar."""
    match = nearest(name, known)
    return f". Did you mean {match}?" if match else ""


def hinted(what: str, hint: str, known: str) -> str:
    """A sentence about an unknown name: the hint, if there is one, before all that is known.

    >>> hinted("no part systm", ". Did you mean system?", "parts are prompt and system")
    'no part systm. Did you mean system? Parts are prompt and system'
    >>> hinted("no part xyz", "", "parts are prompt and system")
    'no part xyz; parts are prompt and system'
    """
    return f"{what}{hint} {known[:1].upper()}{known[1:]}" if hint else f"{what}; {known}"
