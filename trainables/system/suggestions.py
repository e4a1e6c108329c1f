"""The known name that a person may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What people write elsewhere, or copy from one another.
ALSO = {
    "fa2": "flash_attention_2",
    "fa3": "flash_attention_3",
    "flash_attn": "flash_attention_2",
    "flashattn2": "flash_attention_2",
    "disabled": "eager",
    "bitsandbytes": "bnb",
    "yam": "yarn",
    "dynatic": "dynamic",
    "ntk": "dynamic",
}


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is most like ``name``, if any is.

    >>> nearest("lroa", ["full", "lora"])
    'lora'
    >>> nearest("fa2", ["sdpa", "flash_attention_2"])
    'flash_attention_2'
    """
    lower = {candidate.lower(): candidate for candidate in known}
    given = str(name).lower()
    if (meant := ALSO.get(given)) in lower:
        return lower[meant]
    # Longer than what is meant: liger_kernel.
    begins = [candidate for candidate in lower if len(candidate) > 2 and given.startswith(candidate)]
    matches = difflib.get_close_matches(given, lower, n=1) or begins
    return lower[matches[0]] if matches else None


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``". Did you mean lora?"``, to end a sentence with; nothing where no known name is near."""
    near = nearest(name, known)
    return f". Did you mean {near}?" if near else ""
