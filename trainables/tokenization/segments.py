"""Tokenizes a text in segments: the tokens before each cut are those that the text before the cut has alone.

A tokenizer may join the end of a prompt and the beginning of its answer in one token. A model that generates never
sees that token: it is given the prompt alone. So a text is cut where answers begin and end.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from trainables.templates.control_tokens import MARKED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A character that does not join what follows it. Encoded together with a text, and then removed, it keeps SentencePiece
# tokenizers from writing a space before the text, as they do at the beginning.
ANCHOR = "\n"
MAX_TAIL = 64  # characters between a special token and a cut whose tokens are kept


def tokenize_segments(
    tokenizer: PreTrainedTokenizerBase, text: str, cuts: Sequence[int], apart: Sequence[int] = ()
) -> list[list[int]]:
    """The tokens of ``text`` up to the first cut, between cuts, and so on; ``cuts`` are ascending characters.

    Where the tokens before a cut are the beginning of those beyond it, the segments together are the tokens of the
    text. Elsewhere the text is tokenized anew from the cut, and also where a special token before the cut would take
    the white space that follows. Special tokens that ``templates.protect`` marked in the text become the tokens of
    their letters. ``apart`` are places inside segments where the text is cut in the same way.
    """
    if (quick := _cut_behind_special_tokens(tokenizer, text, cuts)) is not None:
        return quick
    inner = {place for place in apart if place < cuts[-1]}.difference(cuts)
    places = sorted([*cuts, *inner])
    segments: list[list[int]] = []
    begun: list[int] = []
    for place, tokens in zip(places, _cut_tokens(tokenizer, text, places), strict=True):
        begun = begun + tokens
        if place not in inner:
            segments.append(begun)
            begun = []
    return segments


def _cut_tokens(tokenizer: PreTrainedTokenizerBase, text: str, cuts: Sequence[int]) -> list[list[int]]:
    segments: list[list[int]] = []
    # The run is the part that is tokenized as one text; `known` are its tokens up to the last cut. It begins `inside`
    # the text unless it begins where the text does or at a special token.
    start, last, inside = 0, 0, False
    known: list[int] = []
    for cut in cuts:
        run = _ids(tokenizer, text[start:cut], inside)
        if run[: len(known)] == known and not _takes_space(tokenizer, text, last, cut):
            segments.append(run[len(known) :])
        else:
            start, inside = last, True
            run = _ids(tokenizer, text[start:cut], inside)
            segments.append(run)
        later, known = _from_last_special_token(tokenizer, text, start, cut, run)
        start, inside, last = later, inside and later == start, cut
    return segments


def _cut_behind_special_tokens(
    tokenizer: PreTrainedTokenizerBase, text: str, cuts: Sequence[int]
) -> list[list[int]] | None:
    """The segments of a text that is tokenized once; ``None`` where that doesn't show where to cut its tokens.

    What stands between a cut and the special token before it is short, and the same in most texts
    (``<|im_start|>assistant``): the cut is behind its tokens, if the text has them there.
    """
    pattern = _special_pattern(tokenizer)
    if pattern is None or not cuts or MARKED.search(text):
        return None
    starts = [match.start() for match in pattern.finditer(text, 0, cuts[-1])]
    counts = [bisect_left(starts, cut) for cut in cuts]  # special tokens before each cut
    if 0 in counts:
        return None
    tails = [text[starts[count - 1] : cut] for count, cut in zip(counts, cuts, strict=True)]
    if any(len(tail) > MAX_TAIL for tail in tails):
        return None
    ids = _plain(tokenizer, text[: cuts[-1]])
    special = special_tokens(tokenizer)
    places = [place for place, token in enumerate(ids) if token in special]
    if len(places) != len(starts):
        return None
    segments, begun = [], 0
    for count, tail in zip(counts, tails, strict=True):
        tokens = _tail_tokens(tokenizer, tail)
        end = places[count - 1] + len(tokens)
        if ids[places[count - 1] : end] != tokens:
            return None
        segments.append(ids[begun:end])
        begun = end
    return segments


@lru_cache(maxsize=256)
def _tail_tokens(tokenizer: PreTrainedTokenizerBase, tail: str) -> list[int]:
    return _plain(tokenizer, tail)


@lru_cache(maxsize=8)
def _special_pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """What finds special tokens in a text; ``None`` if there are none, or some that take white space."""
    tokens = [token for token in tokenizer.added_tokens_decoder.values() if token.special]
    if not tokens or any(token.lstrip or token.rstrip or token.single_word for token in tokens):
        return None
    texts = sorted((token.content for token in tokens), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, texts)))


def _takes_space(tokenizer: PreTrainedTokenizerBase, text: str, place: int, end: int) -> bool:
    """Whether white space begins at ``place`` that a special token before it takes, as Phi 3's do (``rstrip``)."""
    taking = _space_takers(tokenizer)
    return bool(taking) and text[place:end][:1].isspace() and text[:place].rstrip().endswith(taking)


@lru_cache(maxsize=8)
def _space_takers(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    tokens = tokenizer.added_tokens_decoder.values()
    return tuple(token.content for token in tokens if token.special and token.rstrip)


@lru_cache(maxsize=8)
def takes_space_before(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str] | None:
    """What finds white space that the special token behind it takes (``lstrip``); ``None`` if no token does."""
    tokens = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special and t.lstrip]
    return re.compile(rf"\s(?={'|'.join(map(re.escape, tokens))})") if tokens else None


def _from_last_special_token(
    tokenizer: PreTrainedTokenizerBase, text: str, start: int, cut: int, run: list[int]
) -> tuple[int, list[int]]:
    """A later start of the run, at its last special token, and the tokens from there.

    Tokenizers cut a text at special tokens, so what precedes one does not matter. Without this, the time for a
    conversation would grow with the square of its turns.
    """
    special = special_tokens(tokenizer)
    place = next((place for place in reversed(range(len(run))) if run[place] in special), None)
    if place is None:
        return start, run
    position = text.rfind(special[run[place]], start, cut)
    # A tokenizer may write a special token in another way than the text has it.
    return (start, run) if position < 0 else (position, run[place:])


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, inside: bool) -> list[int]:
    """The tokens of a text, or of a part ``inside`` one. Marked special tokens become the tokens of their letters."""
    if not text:
        return []
    if not MARKED.search(text):
        return _inside(tokenizer, text) if inside else _plain(tokenizer, text)
    ids: list[int] = []
    # Odd pieces are the marked ones: (before, first character, rest, before, ...).
    pieces = re.split(MARKED, text)
    for number in range(0, len(pieces), 3):
        if pieces[number]:
            ids += _ids(tokenizer, pieces[number], inside or number > 0)
        if number + 2 < len(pieces):
            ids += _inside(tokenizer, pieces[number + 1] + pieces[number + 2], split_special_tokens=True)
    return ids


def _inside(tokenizer: PreTrainedTokenizerBase, text: str, split_special_tokens: bool = False) -> list[int]:
    anchor = _plain(tokenizer, ANCHOR, split_special_tokens=split_special_tokens)
    anchored = _plain(tokenizer, ANCHOR + text, split_special_tokens=split_special_tokens)
    # A special token needs no anchor, and may take it, unless it is split like any other text.
    special = () if split_special_tokens else tuple(special_tokens(tokenizer).values())
    if anchored[: len(anchor)] != anchor or text.startswith(special):
        return _plain(tokenizer, text, split_special_tokens=split_special_tokens)
    return anchored[len(anchor) :]


def _plain(tokenizer: PreTrainedTokenizerBase, text: str, split_special_tokens: bool = False) -> list[int]:
    # Templates write special tokens themselves; the tokenizer would add a second BOS. Not `verbose`: it would warn of
    # texts that are longer than the model's context, which are cut afterwards.
    options: dict[str, Any] = {"split_special_tokens": True} if split_special_tokens else {}
    return list(tokenizer(text, add_special_tokens=False, verbose=False, **options)["input_ids"])


@lru_cache(maxsize=8)
def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The text of each special token, by its id."""
    return {
        number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }
