"""Similarity of answers to their references: BLEU and chrF by sacrebleu, ROUGE by rouge-score; in words or characters.

Texts are compared in Unicode's composed form (NFC). Words and characters are those of Unicode's rules for text
segmentation (UAX #29): a combining mark belongs to its letter, and a character is what a reader takes for one.

>>> mostly_characters(["今天天气很好"]), mostly_characters(["The weather is fine"])
(True, False)
"""

from __future__ import annotations

import importlib.metadata
import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import regex

from trainables.data.thinking import without_thinking
from trainables.scoring.measures import CorpusMeasure, Measure, mean_measure
from trainables.system.progress import report_progress

ROUGES = ("rouge1", "rouge2", "rougeL")
# The first code point of a character of a script without spaces: kana, and the letters that UAX #29 joins to no
# word, which are Han characters and the letters of Thai, Lao, Khmer, Burmese and their relatives.
_UNSPACED = r"(?:[\u3040-\u30ff]|(?=\p{L})\p{Word_Break=Other})"
# With the marks after it: of some, such as the Burmese vowel aa, \X alone makes a character of their own.
_CHARACTER = rf"(?={_UNSPACED})\X[\p{{Mn}}\p{{Mc}}\u200c\u200d]*"
# In words: letters, digits, their marks, and the joiners that Persian and Indic scripts write between letters.
# An enclosing mark (Me) is no part of a word: a digit in a keycap is that digit.
_IN_WORD = r"[\p{L}\p{N}\p{Mn}\p{Mc}\u200c\u200d]"
_WORD = regex.compile(rf"[\p{{L}}\p{{N}}]{_IN_WORD}*")
_CHARACTER_OR_WORD = regex.compile(
    rf"(?P<character>{_CHARACTER})|(?!{_UNSPACED})[\p{{L}}\p{{N}}](?:(?!{_UNSPACED}){_IN_WORD})*"
)
# Soft hyphens, marks of direction, variation selectors; neither joiners nor the space without width, which parts words.
_INVISIBLE = regex.compile(r"(?![\u200b-\u200d\p{L}])\p{Default_Ignorable_Code_Point}")
_UNSPACED_CHARACTER = regex.compile(_CHARACTER)


def composed(text: str) -> str:
    """The text in Unicode's composed form (NFC): a letter and its accent as one code point, where there is one."""
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    """The text in lower case and composed, without invisible code points: what ROUGE compares."""
    return composed(_INVISIBLE.sub("", text).lower())


def mostly_characters(texts: Iterable[str]) -> bool:
    """Whether most units of the texts are characters that count as words, as in Chinese or Thai."""
    units = [unit for text in texts for unit in _CHARACTER_OR_WORD.finditer(_folded(text))]
    return 2 * sum(unit["character"] is not None for unit in units) > len(units)


class CharacterTokenizer:
    """A tokenizer for ROUGE: each character of a script without spaces is a token, and so is each word of another.

    >>> CharacterTokenizer().tokenize("กำลังใช้ Python")
    ['กำ', 'ลั', 'ง', 'ใ', 'ช้', 'python']
    """

    rule = "each Han character, kana, or character of another script without spaces, other words whole, in lower case"

    def tokenize(self, text: str) -> list[str]:
        return [unit[0] for unit in _CHARACTER_OR_WORD.finditer(_folded(text))]


class WordTokenizer:
    """A tokenizer for ROUGE: runs of letters and digits with their marks. In ASCII texts as rouge-score's.

    >>> WordTokenizer().tokenize("Café, 3 Uhr, हिन्दी")
    ['café', '3', 'uhr', 'हिन्दी']
    """

    rule = "runs of letters and digits with their marks, in lower case"

    def tokenize(self, text: str) -> list[str]:
        return [str(word) for word in _WORD.findall(_folded(text))]


def _apart(text: str) -> str:
    """The text with spaces around each character of a script without spaces; sacrebleu does it for Han alone."""
    return str(_UNSPACED_CHARACTER.sub(r" \g<0> ", text.replace("\u200b", " ")))


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
    answers, references = [*map(composed, answers)], [*map(composed, references)]
    bleus, signatures = _sacrebleu(answers, references, characters)
    tokenizer = CharacterTokenizer() if characters else WordTokenizer()
    rouges = tuple(_rouge(answers, references, tokenizer))
    libraries = {
        "words_or_characters": "characters" if characters else "words",
        "sacrebleu": {
            "version": importlib.metadata.version("sacrebleu"),
            "signatures": signatures,
            "unicode_form": "NFC",
        },
        "rouge-score": {"version": importlib.metadata.version("rouge-score"), "tokenizer": tokenizer.rule},
    }
    return (*bleus, *rouges), libraries


def _sacrebleu(
    answers: Sequence[str], references: Sequence[str], characters: bool
) -> tuple[list[Measure], dict[str, str]]:
    from sacrebleu.metrics import BLEU, CHRF

    logging.getLogger("sacrebleu").setLevel(logging.ERROR)  # it warns about texts that look tokenized
    tokenize = "zh" if characters else "13a"
    if characters:  # chrF leaves out all space
        answers, references = [*map(_apart, answers)], [*map(_apart, references)]
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
