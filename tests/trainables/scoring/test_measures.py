"""Measures of answers against numbers worked by hand, and whether two results differ significantly."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from reports.statistics import measure_intervals
from sweeps.evaluation import significance
from trainables.scoring.likelihood import LogLikelihood
from trainables.scoring.measures import (
    FRACTION,
    Measure,
    MeasuredRows,
    auc_measure,
    likelihood_measures,
    mean_measure,
)
from trainables.scoring.text_metrics import mostly_characters, similarity

# Five tokens of six: precisions 5/5, 3/4, 2/3 and 1/2, brevity exp(1 - 6/5).
SAID, RIGHT = "the cat sat on mat", "the cat sat on the mat"
SAID_ZH, RIGHT_ZH = "今天天气好", "今天天气很好"
BLEU = 100 * math.exp(-0.2) * (3 / 4 * 2 / 3 * 1 / 2) ** 0.25


def values(given_answers: list[str], right: list[str], characters: bool = False) -> dict[str, float]:
    measures, _ = similarity(given_answers, right, characters)
    return {each.name: each.value for each in measures}


def test_the_log_likelihood_is_divided_by_tokens_and_by_bytes() -> None:
    found = {
        each.name: each
        for each in likelihood_measures([LogLikelihood(-2.0, 4, []), LogLikelihood(-6.0, 2, [])], [8, 4])
    }
    assert found["loss"].value == 8 / 6
    assert found["perplexity"].value == pytest.approx(math.exp(8 / 6))
    assert found["bits_per_byte"].value == pytest.approx(8 / math.log(2) / 12)
    assert found["loss"].by_row == (0.5, 3.0)
    assert found["bits_per_byte"].by_row == pytest.approx((2 / math.log(2) / 8, 6 / math.log(2) / 4))


def test_a_row_without_a_number_of_bytes_counts_for_the_loss_only() -> None:
    found = {
        each.name: each
        for each in likelihood_measures([LogLikelihood(-2.0, 4, []), LogLikelihood(-6.0, 2, [])], [8, None])
    }
    assert found["loss"].value == 8 / 6
    assert found["bits_per_byte"].value == pytest.approx(2 / math.log(2) / 8)
    assert found["bits_per_byte"].counted[0] == [found["bits_per_byte"].value]


def test_perplexity_weighs_rows_as_the_loss_does() -> None:
    found = {
        each.name: each
        for each in likelihood_measures(
            [LogLikelihood(-2.0, 4, []), LogLikelihood(-6.0, 2, [])] * 20, [8, 4] * 20
        )
    }
    low, high = significance.interval(found["loss"], measure_intervals) or (0, 0)
    assert (
        0.5 < low < 8 / 6 < high < 3.0
    )  # 40 rows: more than all of the one kind, less than all of the other
    assert significance.interval(found["perplexity"], measure_intervals) == pytest.approx(
        (math.exp(low), math.exp(high))
    )


def test_bleu_and_rouge_of_words() -> None:
    found = values([SAID], [RIGHT])
    assert found["bleu"] == found["sentence_bleu"] == pytest.approx(BLEU)
    assert found["rouge1"] == found["rougeL"] == pytest.approx(10 / 11)
    assert found["rouge2"] == pytest.approx(2 / 3)


def test_bleu_and_rouge_of_chinese_characters() -> None:
    found = values([SAID_ZH], [RIGHT_ZH], characters=True)
    assert found["bleu"] == pytest.approx(BLEU)
    assert found["rouge1"] == found["rougeL"] == pytest.approx(10 / 11)
    assert found["rouge2"] == pytest.approx(2 / 3)
    # As words, a whole sentence is one.
    assert values([SAID_ZH], [RIGHT_ZH])["rouge1"] == 0


def test_chrf_is_of_character_pairs_and_triples() -> None:
    # Of one character 1 of 2 is right, of two 0 of 1, and there are no three: (1/2 + 0) / 2.
    assert values(["ab"], ["ac"])["chrf"] == pytest.approx(25)


def test_bleu_of_all_rows_is_not_the_mean_of_sentences() -> None:
    found = values([SAID, RIGHT], [RIGHT, RIGHT])
    precisions = (11 / 11, 8 / 9, 6 / 7, 4 / 5)
    assert found["bleu"] == pytest.approx(100 * math.exp(1 - 12 / 11) * math.prod(precisions) ** 0.25)
    assert found["sentence_bleu"] == pytest.approx((BLEU + 100) / 2)


def test_rouge_of_words_equals_rouge_scores_for_ascii_and_covers_other_alphabets() -> None:
    from rouge_score.tokenizers import DefaultTokenizer

    from trainables.scoring.text_metrics import WordTokenizer

    text = "It's 3 p.m., isn't it? O-K."
    assert WordTokenizer().tokenize(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)
    assert values(["да, конечно"], ["да конечно"])["rouge1"] == 1


def test_an_empty_answer_scores_nothing() -> None:
    found = values(["", RIGHT], [RIGHT, RIGHT])
    assert found["rouge1"] == 0.5
    assert found["sentence_chrf"] == pytest.approx(50)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("天气很好", True),
        ("使用 pandas 读取数据", True),
        ("The word 好 means good", False),
        ("", False),
        ("です", True),
    ],
)
def test_the_script_of_the_references_decides_how_texts_are_compared(text: str, expected: bool) -> None:
    assert mostly_characters([text]) is expected


def test_the_libraries_that_compared_the_texts_are_named() -> None:
    _, libraries = similarity([SAID_ZH], [RIGHT_ZH], True)
    assert libraries["sacrebleu"]["version"]
    assert "tok:zh" in libraries["sacrebleu"]["signatures"]["bleu"]
    assert libraries["rouge-score"]["tokenizer"].startswith("each Han character")


# Two results


def measured(name: str, rows: list[float], **options: object) -> MeasuredRows:
    return MeasuredRows({}, (mean_measure(name, rows, **options),), name)


def reported(one: list[float], other: list[float], name: str = "exact_match", **options: object) -> str:
    found = significance.differences(
        measured(name, one, **options), measured(name, other, **options), measure_intervals
    )
    return significance.verdict(found[0], "A", "B")


def test_right_and_wrong_rows_are_compared_by_mcnemar() -> None:
    one = [1.0] * 10 + [0.0] * 2 + [1.0] * 8
    other = [0.0] * 10 + [1.0] * 2 + [1.0] * 8
    message = reported(one, other, unit=FRACTION)
    assert message.startswith("A is better than B by exact match: 90.0 % against 50.0 %, difference 40.0 %")
    assert "McNemar's p = 0.039, 20 rows" in message
    assert reported(other, one, unit=FRACTION).startswith("B is better than A")


def test_a_difference_that_may_be_chance_is_none() -> None:
    message = reported([1.0, 1.0, 0.0, 1.0] * 2, [0.0, 1.0, 1.0, 0.0] * 2, unit=FRACTION)
    assert message.startswith("A and B can't be told apart by exact match")


def test_nothing_is_concluded_from_a_few_rows() -> None:
    message = reported([1.0] * 5, [0.0] * 5, "rouge1")
    assert message.startswith("A and B can't be told apart by so few rows, by rouge1: 1 against 0")


def test_the_lower_loss_is_better() -> None:
    message = reported([*map(float, range(6))], [*map(float, range(1, 7))], "loss", higher_is_better=False)
    assert message.startswith(
        "A is better than B by loss: 2.5 against 3.5, difference -1 (95 % interval -1 to -1"
    )


def test_the_paired_interval_is_that_of_the_weighted_means() -> None:
    dice = random.Random(0)
    one = [dice.gauss(1, 1) for _ in range(40)]
    other = [dice.gauss(0, 1) for _ in range(40)]
    ones = [1.0] * 40
    differences = [a - b for a, b in zip(one, other, strict=True)]
    low, high = measure_intervals.paired_difference(one, ones, other, ones)
    # Student's interval is right for normal differences.
    student = stats.ttest_1samp(differences, 0).confidence_interval()
    assert (low, high) == pytest.approx(tuple(student), abs=0.05)
    assert measure_intervals.mean_interval(differences, ones) == pytest.approx(tuple(student), abs=0.1)


def test_losses_per_token_of_different_tokens_are_not_compared() -> None:
    one = Measure("loss", 1.0, (1.0, 1.0), (3.0, 4.0), False, "nats per token")
    other = Measure("loss", 1.5, (1.5, 1.5), (2.0, 2.0), False, "nats per token")
    found = significance.differences(
        MeasuredRows({}, (one,), "loss"), MeasuredRows({}, (other,), "loss"), measure_intervals
    )
    assert found == []


def test_a_share_of_rows_has_wilsons_interval_and_a_mean_a_bootstrap() -> None:
    share = mean_measure("exact_match", [1.0] * 81 + [0.0] * 182, unit=FRACTION)
    assert significance.interval(share, measure_intervals) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert significance.interval(mean_measure("rouge1", [0.5, 0.5]), measure_intervals) == (0.5, 0.5)
    assert significance.interval(Measure("bleu", 30.0), measure_intervals) is None


WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "how", "other", "cats", "sleep", "all", "day")


def texts(mistakes: float, count: int = 40) -> tuple[list[str], list[str]]:
    """Answers with about that share of their words wrong, and their references; the same references each time."""
    dice, slips = random.Random(0), random.Random(1)
    references = [[dice.choice(WORDS) for _ in range(8)] for _ in range(count)]
    answers = [[word if slips.random() > mistakes else "oops" for word in words] for words in references]
    return [" ".join(words) for words in answers], [" ".join(words) for words in references]


def alike(mistakes: float, count: int = 40) -> MeasuredRows:
    return MeasuredRows({}, similarity(*texts(mistakes, count), False)[0], "bleu")


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_a_corpus_measure_is_recomputed_from_each_rows_counts(name: str) -> None:
    import numpy as np
    import sacrebleu

    given_answers, right = texts(0.3)
    found = next(each for each in alike(0.3).measures if each.name == name)
    assert found.corpus is not None
    assert found.corpus.compute(np.ones(40, int)) == pytest.approx(found.value, rel=1e-12)
    twice = [*given_answers[:1], *given_answers[:1], *given_answers[2:]], [*right[:1], *right[:1], *right[2:]]
    drawn = np.array([2, 0, *[1] * 38])
    score = getattr(sacrebleu, f"corpus_{name}")(twice[0], [twice[1]]).score
    assert found.corpus.compute(drawn) == pytest.approx(score, rel=1e-12)
    low, high = significance.interval(found, measure_intervals) or (0.0, 0.0)
    assert low < found.value < high
    assert high - low < 30


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_two_results_are_compared_by_a_corpus_measure(name: str) -> None:
    def likelihoods(one: MeasuredRows, other: MeasuredRows) -> significance.Difference:
        return next(
            each
            for each in significance.differences(one, other, measure_intervals)
            if each.measure.name == name
        )

    better = likelihoods(alike(0.1), alike(0.3))
    assert better.settled
    assert 0 < better.low < better.difference < better.high
    same = likelihoods(alike(0.1), alike(0.1))
    assert (same.low, same.high, same.settled) == (0, 0, False)
    assert not likelihoods(alike(0.1, 5), alike(0.3, 5)).settled  # so few rows


def test_the_interval_of_an_auc_is_not_empty_where_all_pairs_are_in_order() -> None:
    perfect = auc_measure([1.0] * 64, [0.0] * 64, 1.0)
    low, high = significance.interval(perfect, measure_intervals) or (0.0, 0.0)
    assert (round(low, 3), high) == (0.969, 1)
    assert (
        significance.interval(auc_measure([1.0], [None], 0.5), measure_intervals) is None
    )  # nothing to tell apart


def test_the_interval_of_a_mean_is_the_same_by_drawing_rows() -> None:
    import numpy as np

    scores = np.array([random.Random(seed).gauss(1, 1) for seed in range(60)])
    drawn = measure_intervals.measure_interval(
        60, lambda counts: float((counts * scores).sum() / counts.sum())
    )
    assert drawn == pytest.approx(measure_intervals.mean_interval(scores.tolist(), [1.0] * 60), abs=0.05)


def test_a_mean_of_two_rows_has_no_interval() -> None:
    assert significance.interval(mean_measure("rouge1", [0.2, 0.9]), measure_intervals) is None
