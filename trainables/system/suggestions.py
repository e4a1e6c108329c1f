"""Suggests the known name that a person may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Self

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


class Proposal(str):
    """A sentence of a message that proposes what to write in place of a value, or of a key if ``of_key``.

    Programs take ``instead``, what is to be written, and needn't read the sentence.

    >>> proposal = Proposal(". Did you mean lora?", "lora")
    >>> proposal.instead, proposal.within(f"got lroa{proposal}").instead
    ('lora', 'lora')
    """

    __slots__ = ("instead", "of_key")
    instead: str | None
    of_key: bool

    def __new__(cls, sentence: str = "", instead: str | None = None, of_key: bool = False) -> Self:
        made = super().__new__(cls, sentence)
        made.instead, made.of_key = instead, of_key
        return made

    def within(self, message: str) -> Proposal:
        """A whole message that makes the same proposal."""
        return Proposal(message, self.instead, self.of_key)


def proposal_of(message: str) -> Proposal:
    """The message with what it proposes; with nothing if it is a plain text."""
    return message if isinstance(message, Proposal) else Proposal(message)


def message_of(error: Exception) -> Proposal:
    """An error's message, with what it proposes."""
    return (
        proposal_of(error.args[0])
        if error.args and isinstance(error.args[0], Proposal)
        else Proposal(str(error))
    )


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


def did_you_mean(name: object, known: Iterable[str]) -> Proposal:
    """``". Did you mean lora?"``, to append to a sentence; an empty text if no known name is similar."""
    match = nearest(name, known)
    return Proposal(f". Did you mean {match}?", match) if match else Proposal()


def hinted(what: str, hint: str, known: str) -> Proposal:
    """A sentence about an unknown name: the hint, if there is one, before all that is known.

    >>> hinted("no part systm", ". Did you mean system?", "parts are prompt and system")
    'no part systm. Did you mean system? Parts are prompt and system'
    >>> hinted("no part xyz", "", "parts are prompt and system")
    'no part xyz; parts are prompt and system'
    """
    whole = f"{what}{hint} {known[:1].upper()}{known[1:]}" if hint else f"{what}; {known}"
    return proposal_of(hint).within(whole)
