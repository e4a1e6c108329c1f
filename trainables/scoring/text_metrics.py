"""Similarity of answers to their references: BLEU and chrF by sacrebleu, ROUGE by rouge-score; in words or characters.

>>> mostly_characters(["今天天气很好"]), mostly_characters(["The weather is fine"])
(True, False)
"""

from __future__ import annotations

import importlib.metadata
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from trainables.data.thinking import without_thinking
from trainables.scoring.measures import CorpusMeasure, Measure, mean_measure
from trainables.system.progress import report_progress

ROUGES = ("rouge1", "rouge2", "rougeL")
# Scripts written without spaces: Han characters and kana.
_CHARACTER = "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
# One such character, or a run of letters and digits that ends before the next one: both are [^\W_].
_WORD = re.compile(rf"{_CHARACTER}|(?:(?!{_CHARACTER})[^\W_])+")


def mostly_characters(texts: Iterable[str]) -> bool:
    """Whether most units of the texts are characters that count as words, as in Chinese."""
    units = [unit for text in texts for unit in _WORD.findall(text)]
    return 2 * sum(bool(re.match(_CHARACTER, unit)) for unit in units) > len(units)


class CharacterTokenizer:
    """A tokenizer for ROUGE: each Han character or kana is a token, and so is each word of another script."""

    rule = "each Han character or kana, and other words whole, in lower case"

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


class WordTokenizer:
    """A tokenizer for ROUGE: runs of letters and digits. In ASCII texts as rouge-score's, which drops all else.

    >>> WordTokenizer().tokenize("Café, 3 Uhr")
    ['café', '3', 'uhr']
    """

    rule = "runs of letters and digits, in lower case"

    def tokenize(self, text: str) -> list[str]:
        return re.findall(r"[^\W_]+", text.lower())


def answer_similarity(
    answers: Sequence[str], references: Sequence[str], characters: bool | None = None
) -> tuple[tuple[Measure, ...], dict[str, Any]]:
    """:func:`similarity` without thoughts, in ``characters`` where the references are written so."""
    final = [without_thinking(text) for text in answers]
    expected = [without_thinking(text) for text in references]
    return similarity(final, expected, mostly_characters(expected) if characters is None else characters)


def similarity(
    answers: Sequence[str], references: Sequence[str], characters: bool
) -> tuple[tuple[Measure, ...], dict[str, Any]]:
    """BLEU and chrF over all rows and by sentence, ROUGE F1 by row; and the libraries' versions and signatures.

    BLEU and chrF are between 0 and 100, as sacrebleu has them; ROUGE is between 0 and 1.
    """
    bleus, signatures = _sacrebleu(answers, references, "zh" if characters else "13a")
    tokenizer = CharacterTokenizer() if characters else WordTokenizer()
    rouges = tuple(_rouge(answers, references, tokenizer))
    libraries = {
        "words_or_characters": "characters" if characters else "words",
        "sacrebleu": {"version": importlib.metadata.version("sacrebleu"), "signatures": signatures},
        "rouge-score": {"version": importlib.metadata.version("rouge-score"), "tokenizer": tokenizer.rule},
    }
    return (*bleus, *rouges), libraries


def _sacrebleu(
    answers: Sequence[str], references: Sequence[str], tokenize: str
) -> tuple[list[Measure], dict[str, str]]:
    from sacrebleu.metrics import BLEU, CHRF

    logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # it warns about texts that look tokenized
    measures, signatures = [], {}
    for name, corpus, sentence in (
        # A sentence may be too short for 4-grams: with effective_order these are left out of its score.
        ("bleu", BLEU(tokenize=tokenize), BLEU(tokenize=tokenize, effective_order=True)),
        ("chrf", CHRF(), CHRF()),
    ):
        value = corpus.corpus_score(list(answers), [list(references)]).score
        rows = [
            sentence.sentence_score(answer, [reference]).score
            for answer, reference in zip(answers, references, strict=True)
        ]
        for key, metric in ((name, corpus), (f"sentence_{name}", sentence)):
            # After scoring, by which sacrebleu knows how many references a row has.
            signatures[key] = str(metric.get_signature())
        measures.append(
            Measure(name, value, how=signatures[name], corpus=_corpus_measure(corpus, answers, references))
        )
        measures.append(mean_measure(f"sentence_{name}", rows, how=signatures[f"sentence_{name}"]))
    return measures, signatures


def _corpus_measure(metric: Any, answers: Sequence[str], references: Sequence[str]) -> CorpusMeasure:
    """The metric as sacrebleu itself resamples it: from the sum of the drawn rows' counts."""
    # (rows, statistics); with how often each row is drawn, (rows,), a product gives the sums (statistics,).
    counts = np.array(metric._extract_corpus_statistics(list(answers), [list(references)]))
    return CorpusMeasure(
        len(counts), lambda drawn: metric._compute_score_from_stats((drawn @ counts).tolist()).score
    )


def _rouge(answers: Sequence[str], references: Sequence[str], tokenizer: Any) -> Iterator[Measure]:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGES), use_stemmer=False, tokenizer=tokenizer)
    scores = []
    for answer, reference in zip(answers, references, strict=True):
        scores.append(scorer.score(reference, answer))
        report_progress("comparing texts", len(scores), len(answers))
    for name in ROUGES:
        rows = [row[name].fmeasure for row in scores]
        yield mean_measure(name, rows, how=f"rouge-score, F; {tokenizer.rule}")
