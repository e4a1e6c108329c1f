"""How like their references answers are: BLEU and chrF by sacrebleu, ROUGE by rouge-score; in words or in characters.

>>> in_characters(["今天天气很好"]), in_characters(["The weather is fine"])
(True, False)
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from trainables.data.thinking import spoken
from trainables.scoring.measures import Measure, Whole, of_rows
from trainables.system.progress import tell

ROUGES = ("rouge1", "rouge2", "rougeL")
# Scripts that are written without spaces: Han characters, and kana beside them.
_CHARACTER = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_WORD = re.compile(rf"{_CHARACTER}|(?:(?!{_CHARACTER})[^\W_])+")


def in_characters(texts: Iterable[str]) -> bool:
    """Whether most of what texts consist of are characters that are words of their own, as in Chinese."""
    units = [unit for text in texts for unit in _WORD.findall(text)]
    return 2 * sum(bool(re.match(_CHARACTER, unit)) for unit in units) > len(units)


class Characters:
    """For ROUGE: a Han character is a token of its own, and so is a word of another script within the text."""

    rule = "each Han character or kana, and other words whole, in lower case"

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


class Words:
    """For ROUGE: runs of letters and digits; of ASCII texts the same as rouge-score's own rule, which knows no others.

    >>> Words().tokenize("Café, 3 Uhr")
    ['café', '3', 'uhr']
    """

    rule = "runs of letters and digits, in lower case"

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


def likeness(
    said: Sequence[str], references: Sequence[str], characters: bool | None = None
) -> tuple[tuple[Measure, ...], dict[str, Any]]:
    """:func:`similarity` of what is said after any thoughts, in characters where the references are written so."""
    told, gold = [spoken(text) for text in said], [spoken(text) for text in references]
    return similarity(told, gold, in_characters(gold) if characters is None else characters)


def similarity(
    answers: Sequence[str], references: Sequence[str], characters: bool
) -> tuple[tuple[Measure, ...], dict[str, Any]]:
    """BLEU and chrF of all rows together and by sentence, ROUGE F by row; and the libraries' versions and signatures.

    All are between 0 and 100 for BLEU and chrF, as sacrebleu has them, and between 0 and 1 for ROUGE.
    """
    bleus, signed = _sacrebleu(answers, references, "zh" if characters else "13a")
    tokenizer = Characters() if characters else Words()
    rouges = tuple(_rouge(answers, references, tokenizer))
    libraries = {
        "words_or_characters": "characters" if characters else "words",
        "sacrebleu": {"version": importlib.metadata.version("sacrebleu"), "signatures": signed},
        "rouge-score": {"version": importlib.metadata.version("rouge-score"), "tokenizer": tokenizer.rule},
    }
    return (*bleus, *rouges), libraries


def _sacrebleu(
    answers: Sequence[str], references: Sequence[str], tokenize: str
) -> tuple[list[Measure], dict[str, str]]:
    from sacrebleu.metrics import BLEU, CHRF

    logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # it warns of texts that look tokenized
    measures, signed = [], {}
    for name, whole, single in (
        ("bleu", BLEU(tokenize=tokenize), BLEU(tokenize=tokenize, effective_order=True)),
        ("chrf", CHRF(), CHRF()),
    ):
        value = whole.corpus_score(list(answers), [list(references)]).score
        rows = [
            single.sentence_score(answer, [reference]).score
            for answer, reference in zip(answers, references, strict=True)
        ]
        for key, metric in ((name, whole), (f"sentence_{name}", single)):
            signed[key] = str(metric.get_signature())
        measures.append(Measure(name, value, how=signed[name], whole=_whole(whole, answers, references)))
        measures.append(of_rows(f"sentence_{name}", rows, how=signed[f"sentence_{name}"]))
    return measures, signed


def _whole(metric: Any, answers: Sequence[str], references: Sequence[str]) -> Whole:
    """The metric by what each row adds to its counts, as sacrebleu itself resamples it."""
    counts = np.array(metric._extract_corpus_statistics(list(answers), [list(references)]))
    return Whole(len(counts), lambda drawn: metric._compute_score_from_stats((drawn @ counts).tolist()).score)


def _rouge(answers: Sequence[str], references: Sequence[str], tokenizer: Any) -> Iterator[Measure]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGES), use_stemmer=False, tokenizer=tokenizer)
    found = []
    for answer, reference in zip(answers, references, strict=True):
        found.append(scorer.score(reference, answer))
        tell("comparing texts", len(found), len(answers))
    for name in ROUGES:
        rows = [row[name].fmeasure for row in found]
        yield of_rows(name, rows, how=f"rouge-score, F; {tokenizer.rule}")
