"""A tokenizer that is loaded when rows are encoded, and not to find those that were encoded before."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, Union

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class DeferredTokenizer:
    """A tokenizer of which only the hash of all that tokens depend on is needed at first.

    Importing and loading one takes seconds and torch.
    """

    def __init__(self, identity: str, load: Callable[[], PreTrainedTokenizerBase]) -> None:
        """``identity``: what ``token_table.tokenizer_identity`` gives for the tokenizer that ``load`` gives."""
        self.identity, self._load = identity, load

    @cached_property
    def loaded(self) -> PreTrainedTokenizerBase:
        """The tokenizer. Raises what ``load`` does."""
        return self._load()


AnyTokenizer: TypeAlias = Union["PreTrainedTokenizerBase", DeferredTokenizer]


def loaded(tokenizer: AnyTokenizer) -> PreTrainedTokenizerBase:
    """The tokenizer itself, loaded now if it wasn't yet."""
    return tokenizer.loaded if isinstance(tokenizer, DeferredTokenizer) else tokenizer
