"""Which tokens of a text are masked, and by what they are replaced, for models that predict masked tokens.

As in BERT (Devlin et al., 2019, arXiv:1810.04805, section 3.1 and appendix A): of the tokens that are chosen, 80 %
become the mask token, 10 % a random one, and 10 % stay as they are. Their number is that of BERT's own data: the share
of the text's tokens, rounded, and at least one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainables.templates import TemplateError
from trainables.tokenization.encode import IGNORED, Encoded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHARE = 0.15
AS_MASK, AS_RANDOM = 0.8, 0.1
# The second number of a generator's seed, so that masks and the order of rows are drawn independently.
TRAINING, SCORING = 4, 5


@dataclass(frozen=True)
class Masking:
    """Masks a ``share`` of the tokens that have a label; random ones are drawn of ``vocabulary`` tokens."""

    mask_token: int
    vocabulary: int
    share: float = SHARE

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, share: float = SHARE) -> Masking:
        """That of a tokenizer. Raises ``TemplateError`` for one without a mask token."""
        if tokenizer.mask_token_id is None:
            raise TemplateError("the tokenizer has no mask token, so objective: mlm can't be trained with it")
        return cls(int(tokenizer.mask_token_id), len(tokenizer), share)

    def trained(self, example: Encoded, seed: int, number: int, draw: int) -> Encoded:
        """The example as it is trained on when it is drawn for the ``draw``-th time; ``number``: its place in the data.

        Each draw masks other tokens (dynamic masking: Liu et al., 2019, arXiv:1907.11692, section 4.1), whatever else
        is drawn, so that a trial that is resumed sees what it would have seen.
        """
        return self._masked(example, [seed, TRAINING, number, draw])

    def scored(self, example: Encoded) -> Encoded:
        """The example as it is scored: the same mask for the same tokens, whatever the trial and the batch."""
        digest = hashlib.sha256(np.array(example.input_ids, np.int64).tobytes()).digest()
        return self._masked(example, [SCORING, int.from_bytes(digest[:8])])

    def _masked(self, example: Encoded, key: Sequence[int]) -> Encoded:
        ids = np.array(example.input_ids)
        places = np.flatnonzero(np.array(example.labels) != IGNORED)
        generator = np.random.default_rng(key)
        chosen = np.sort(generator.choice(places, masked_count(len(places), self.share), replace=False))
        labels = np.full_like(ids, IGNORED)
        labels[chosen] = ids[chosen]
        kind = generator.random(len(chosen))
        ids[chosen[kind < AS_MASK]] = self.mask_token
        random = chosen[(kind >= AS_MASK) & (kind < AS_MASK + AS_RANDOM)]
        ids[random] = generator.integers(self.vocabulary, size=len(random))
        return Encoded(ids.tolist(), labels.tolist(), example.prompt_tokens, example.truncated)


def masked_count(tokens: int, share: float) -> int:
    """How many of a text's ``tokens`` are masked.

    >>> masked_count(100, 0.15), masked_count(2, 0.15)
    (15, 1)
    """
    return min(tokens, max(1, round(share * tokens)))


def draws_before(order: np.ndarray) -> np.ndarray:
    """For each place of ``order``, how often its example was drawn before: (draws,).

    >>> draws_before(np.array([1, 0, 1, 1])).tolist()
    [0, 0, 1, 2]
    """
    grouped = np.argsort(order, kind="stable")
    starts = np.flatnonzero(np.diff(order[grouped], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    counts = np.empty(len(order), np.int64)
    counts[grouped] = np.arange(len(order)) - np.repeat(starts, sizes)
    return counts
