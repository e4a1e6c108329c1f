"""Evaluating a model on rows: answers by their likelihood and as it generates them, pairs by their order, texts by
their likelihood. On the rows that a trial scored, the result equals its record to the last digit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trainables.auc import auc
from trainables.config import limits
from trainables.config.data import QUALITIES
from trainables.data.loading import Data
from trainables.data.rows import Prompt, Prompted
from trainables.data.thinking import answer_matches
from trainables.evaluation.evaluation_rows import EvaluationRows, Kind
from trainables.inference.batch_answers import generate_answers
from trainables.inference.result import Result
from trainables.inference.sampling import Sampling
from trainables.models.folder import ModelError
from trainables.models.vocabulary import missing_rows
from trainables.scoring.custom_scorer import Scorer
from trainables.scoring.generation import greedy_answers, max_answer_tokens
from trainables.scoring.likelihood import LogLikelihood, log_likelihoods, mean_logprobs
from trainables.scoring.measures import (
    FRACTION,
    Measure,
    MeasuredRows,
    auc_measure,
    likelihood_measures,
    mean_measure,
)
from trainables.scoring.text_metrics import answer_similarity
from trainables.stages import DPO, KTO, SFT, Pretrain
from trainables.stages.base import Scores, TrainingStage
from trainables.stages.preference import Margins, PairStage, answer_texts
from trainables.stages.rewards.stage import own_rewards
from trainables.stages.sft import reference
from trainables.tokenization.encode import Encoded, encode, prompt_ids
from trainables.tokenization.rendered_conversation import NO_PLACE
from trainables.training.policy import Policy

MAX_NEW_TOKENS = 256  # of an answer, where no reference tells how long answers are


@dataclass(frozen=True)
class Settings:
    """How rows are evaluated. ``None``: as the result's trial evaluated them, or as suits the data.

    ``cutoff``: the maximum number of tokens of a row. Without ``generate``, no answers are generated; without
    ``sampling``, they are greedy. ``max_new_tokens`` of an answer is the one here, not that of ``sampling``.
    ``characters``: texts are compared by characters instead of words.
    """

    batch_size: int | None = None
    cutoff: int | None = None
    generate: bool = True
    sampling: Sampling | None = None
    max_new_tokens: int | None = None
    scorer: Scorer | None = None
    characters: bool | None = None


@dataclass(frozen=True)
class EvaluationTask:
    """A result, the rows to evaluate it on, and how."""

    result: Result
    data: EvaluationRows
    settings: Settings

    @property
    def rows(self) -> Sequence[Any]:
        return self.data.rows

    @property
    def cutoff(self) -> int:
        """The maximum number of tokens of a row: that of the settings, else by which the trial scored its own."""
        return self.settings.cutoff or self.result.config.data.scored_cutoff

    def stage(self, default: TrainingStage) -> TrainingStage:
        """The stage that scores the rows: the trial's own if it is of the same kind as ``default``, so that rows are
        scored as the trial scored its own, else ``default``.
        """
        trained = self.result.config.stage
        # Any stage that trains on pairs can score them, not only one of the default's class.
        kind = PairStage if isinstance(default, PairStage) else type(default)
        stage = trained if isinstance(trained, kind) else default
        size = self.settings.batch_size
        return stage if size is None else stage.model_copy(update={"eval_batch": size})


def check_supported(task: EvaluationTask) -> None:
    """Raises ``ModelError`` for rows that the model can't be evaluated on: a reward model takes pairs only, a
    classifier texts with its own labels, which no other model takes, and one that predicts masked tokens text.
    """
    result, kind = task.result, task.data.kind
    if result.classifies != (kind == "classes"):
        what = "a classifier: it is evaluated on texts with labels" if result.classifies else "no classifier"
        raise ModelError(f"{result.name} is {what}, but the rows of {task.data.name} are {kind}")
    if result.classifies and (problem := result.config.stage.set_problem(task.rows)) is not None:
        raise ModelError(f"{task.data.name}: {problem}")
    if result.predicts_masked and kind != "text":
        raise ModelError(
            f"{result.name} predicts masked tokens, so it is evaluated on running text, but the rows of "
            f"{task.data.name} are {kind}"
        )
    if not result.classifies and not result.predicts_tokens and kind != "pairs":
        raise ModelError(
            f"{result.name} is a reward model: it scores texts and generates none, so it is evaluated on pairs of a "
            f"chosen and a rejected answer, but the rows of {task.data.name} are {kind}"
        )


def measure(policy: Policy, task: EvaluationTask) -> MeasuredRows:
    """Evaluates the model on the task's rows. Raises ``ScorerError``, what :func:`check_supported` raises, and
    ``ModelError`` for rows with a token that the model has no embedding for.
    """
    check_supported(task)
    _check_embedded(policy, task)
    return replace(_MEASURES[task.data.kind](policy, task), clusters=task.data.clusters())


def _check_embedded(policy: Policy, task: EvaluationTask) -> None:
    """An adapter that was saved with an embedding brings as many rows as there were tokens then."""
    rows = policy.causal.get_input_embeddings().weight.shape[0]
    if not (missing := missing_rows(policy.tokenizer, rows).tokens):
        return
    if task.data.kind == "prompts":
        each = [_prompt_ids(policy, row) for row in task.rows]
    else:
        tokens = task.stage(_STAGES.get(task.data.kind, task.result.config.stage)).tokens(
            policy.tokenizer, task.rows, task.cutoff, scoring=True
        )
        each = [example.input_ids for example in tokens]
    if any(max(ids, default=0) >= rows for ids in each):
        raise ModelError(
            f"{task.result.name} has an embedding of {rows} rows, and the rows of {task.data.name} hold tokens that "
            f"have none, of {', '.join(missing[:3])}; take these out of the texts, or train with the tokenizer that "
            "has them"
        )


def _measure_answers(policy: Policy, task: EvaluationTask) -> MeasuredRows:
    """The likelihood of the reference answers and, unless switched off, the answers that the model generates."""
    stage, rows = task.stage(SFT()), task.rows
    tokens = stage.tokens(policy.tokenizer, rows, task.cutoff, scoring=True)
    scored = log_likelihoods(policy, tokens, stage.eval_batch)
    # The reference of a cut answer is its whole text, so such rows are encoded again without the cutoff.
    uncut = [
        encode(row, policy.tokenizer, limits.TOKENS) if kept.truncated else kept
        for row, kept in zip(rows, tokens, strict=True)
    ]
    references = [reference(policy, *each) for each in zip(rows, uncut, strict=True)]
    # The loss of a cut answer has no length in bytes: where in the text the tokens end isn't known.
    sizes = [
        None if len(whole.answer) > len(kept.answer) else len(text.encode())
        for whole, kept, text in zip(uncut, tokens, references, strict=True)
    ]
    measures, answers = likelihood_measures(scored, sizes), None
    if task.settings.generate:
        answers = _generate(policy, task, tokens, scored, stage.eval_batch)
    prompts = [row.prompt for row in rows]
    return _with_answer_measures(task, measures, prompts, references, answers, _token_notes(tokens, task))


def _generate(
    policy: Policy,
    task: EvaluationTask,
    tokens: Sequence[Encoded],
    scored: Sequence[LogLikelihood],
    batch_size: int,
) -> list[str]:
    settings = task.settings
    limit = settings.max_new_tokens or max_answer_tokens(scored)
    if settings.sampling is None:
        return greedy_answers(policy, tokens, scored, limit, batch_size)
    prompts = [row.prompt for row in tokens]
    return generate_answers(policy, prompts, task.data.row_numbers, settings.sampling, limit, batch_size)


def _with_answer_measures(
    task: EvaluationTask,
    measures: tuple[Measure, ...],
    prompts: Sequence[Sequence[Any]],
    references: Sequence[str | None],
    answers: list[str] | None,
    notes: tuple[str, ...],
) -> MeasuredRows:
    """``measures`` and those of the generated ``answers``: if every row has a reference, exact match and similarity to
    it; and the custom score. ``answers`` is ``None`` if none were generated.
    """
    columns = _prediction_columns(task, references, answers or [None] * len(references))
    if answers is None:
        return MeasuredRows(columns, measures, "loss", notes)
    main = "exact_match" if task.data.one_right_answer else "loss"
    libraries: dict[str, Any] = {}
    texts = [text for text in references if text is not None]
    # With references for some rows only, these would be means over other rows than the rest.
    if texts and len(texts) == len(references):
        how = "thoughts and space around aside"
        exact = mean_measure("exact_match", answer_matches(answers, texts), unit=FRACTION, how=how)
        similarity, libraries = answer_similarity(answers, texts, task.settings.characters)
        measures = (*measures, exact, *similarity)
    if (scorer := task.settings.scorer) is not None:
        scores = scorer.score_rows(task.data.row_numbers, prompts, references, answers)
        unit = FRACTION if all(score in (0.0, 1.0) for score in scores) else ""
        measures = (*measures, mean_measure(scorer.name, scores, unit=unit, how=scorer.path))
        main = scorer.name
    elif task.data.part is not None and (quality := task.result.config.data.quality) is not None:
        main, notes = _judged_as_the_trial(quality, main, notes)
    return MeasuredRows(columns, measures, main, notes, libraries)


def _judged_as_the_trial(quality: str, main: str, notes: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The measure that the trial's answers were judged by, and the notes.

    A function that a run folder names is not run, as the folder may be somebody else's.
    """
    if quality in QUALITIES:
        return QUALITIES[quality], notes
    return main, (*notes, f"its trial was judged by {quality}, which is run with --scorer {quality} alone")


def asks_for_rewards(task: EvaluationTask) -> bool:
    """Whether answers are scored as the trial scored its own, which was trained on prompts by rewards."""
    settings = task.settings
    return (
        task.data.kind == "prompts"
        and task.result.config.stage.row_type is Prompt
        and settings.scorer is None
        and settings.sampling is None
    )


def _measure_prompts(policy: Policy, task: EvaluationTask) -> MeasuredRows:
    """The answers to prompts that may have no reference; a trial that was trained on prompts scores them itself."""
    stage, settings = task.result.config.stage, task.settings
    untrusted: tuple[str, ...] = ()
    if asks_for_rewards(task):
        # A function that a run folder names is not run, as the folder may be somebody else's.
        untrusted = tuple(needed for reward in own_rewards(stage) if (needed := reward.needed()) is not None)
        if not untrusted:
            return _measure_by_stage(policy, task, task.stage(stage))
    limit = settings.max_new_tokens or MAX_NEW_TOKENS
    # A prompt that leaves too little of the cutoff for the answer loses its beginning.
    ids = [_prompt_ids(policy, row)[-max(task.cutoff - limit, 1) :] for row in task.rows]
    batch_size = task.stage(SFT()).eval_batch
    answers = generate_answers(policy, ids, task.data.row_numbers, settings.sampling, limit, batch_size)
    prompts, references = zip(*((row.prompt, row.reference) for row in task.rows), strict=True)
    return _with_answer_measures(task, (), prompts, references, answers, untrusted)


def _prompt_ids(policy: Policy, row: Prompt) -> list[int]:
    tools = json.loads(row.tools) if row.tools else None
    return prompt_ids(policy.tokenizer, row.prompt, tools)


def _measure_pairs(policy: Policy, task: EvaluationTask) -> MeasuredRows:
    """The share of pairs whose chosen answer scores higher: by a reward model's reward, else by the mean
    log-probability of an answer's tokens, and for comparison by their sum.
    """
    stage = task.stage(DPO())
    assert isinstance(stage, PairStage)
    # Two examples a row: chosen, rejected, chosen, ...
    answers = stage.tokens(policy.tokenizer, task.rows, task.cutoff, scoring=True)
    scored = log_likelihoods(policy, answers, stage.eval_batch) if task.result.generates_text else None
    scores = stage.answer_scores(policy, answers) if scored is None else mean_logprobs(scored)
    margins = Margins(scores[0::2], scores[1::2])
    how = "by reward" if scored is None else "by mean log-probability per token"
    measures = [
        Measure("pair_accuracy", margins.accuracy, _floats(margins.right), unit=FRACTION, how=how),
        mean_measure("margin", _floats(margins.chosen - margins.rejected), how=how),
    ]
    if scored is not None:
        value = auc(margins.chosen, margins.rejected)
        measures.append(auc_measure(margins.chosen.tolist(), margins.rejected.tolist(), value, how=how))
        sums = np.array([row.logprob for row in scored])
        by_sum = Margins(sums[0::2], sums[1::2])
        how = "by the sum of log-probabilities"
        measures.append(
            Measure("pair_accuracy_by_sum", by_sum.accuracy, _floats(by_sum.right), unit=FRACTION, how=how)
        )
    chosen, rejected = zip(*(row.answers() for row in task.rows), strict=True)
    columns = _prediction_columns(task, answer_texts(policy, chosen, answers[0::2]), [None] * len(task.rows))
    columns["rejected"] = answer_texts(policy, rejected, answers[1::2])
    columns |= {"chosen_worth": margins.chosen.tolist(), "rejected_worth": margins.rejected.tolist()}
    return MeasuredRows(columns, tuple(measures), "pair_accuracy", _token_notes(answers, task))


def _measure_text(policy: Policy, task: EvaluationTask) -> MeasuredRows:
    """The likelihood of running text, whose rows are cut into pieces of at most ``cutoff`` tokens."""
    stage = task.stage(Pretrain())
    assert isinstance(stage, Pretrain)
    if stage.is_masked:
        return _measure_by_stage(policy, task, stage)
    bits = stage.bits(policy, task.rows, task.cutoff)  # (rows,)
    pieces = stage.tokens(policy.tokenizer, task.rows, task.cutoff, scoring=True)
    # A piece's first token is not predicted.
    tokens = np.bincount(pieces.rows, weights=pieces.lengths - 1, minlength=len(bits))
    nats = bits * np.log(2)
    scored = [LogLikelihood(-float(cost), int(count), []) for cost, count in zip(nats, tokens, strict=True)]
    sizes = [len(row.text.encode()) for row in task.rows]
    # Summed up as training does it, which rounds differently from the sum of rows in `likelihood_measures`.
    bits_per_byte = float(bits.sum()) / sum(sizes)
    measures = tuple(
        replace(each, value=bits_per_byte) if each.name == "bits_per_byte" else each
        for each in likelihood_measures(scored, sizes)
    )
    columns = _prediction_columns(task, [row.text for row in task.rows], [None] * len(sizes))
    return MeasuredRows(columns, measures, "bits_per_byte")


def _measure_labels(policy: Policy, task: EvaluationTask) -> MeasuredRows:
    return _measure_by_stage(policy, task, task.stage(KTO()))


def _measure_classes(policy: Policy, task: EvaluationTask) -> MeasuredRows:
    return _measure_by_stage(policy, task, task.stage(task.result.config.stage))


def _measure_by_stage(policy: Policy, task: EvaluationTask, stage: TrainingStage) -> MeasuredRows:
    """What the stage itself measures on its kind of rows, under the names that trials' records have for it."""
    # A stage scores rows as the test part of its data; nothing is trained here, so the others are empty.
    data = Data(task.data.name, [], [], task.rows, task.data.one_right_answer, task.data.sha256)
    scores = stage.score(policy, data, task.rows, task.cutoff)
    metric = stage.quality(data)
    quality = scores.metrics[metric.name]
    row_scores = tuple(row.score for row in scores.rows)
    columns = _prediction_columns(
        task, [row.reference for row in scores.rows], [row.prediction for row in scores.rows]
    )
    if metric.name == "auc":
        # An area under a curve is of all rows at once: its rows' scores order them and are no measure by row.
        columns["score"] = list(row_scores)
        main = _auc_of_scores(scores, quality)
    else:
        better, unit = metric.higher_is_better, metric.unit
        main = Measure(metric.name, quality, row_scores, higher_is_better=better, unit=unit)
    others = [Measure(name, value) for name, value in scores.metrics.items() if name != metric.name]
    return MeasuredRows(columns, (main, *others), metric.name)


def _auc_of_scores(scores: Scores, value: float) -> Measure:
    good = [row.good_worth for row in scores.rows]
    bad = [row.bad_worth for row in scores.rows]
    return auc_measure(good, bad, value)


def _prediction_columns(
    task: EvaluationTask, references: Sequence[str | None], answers: Sequence[str | None]
) -> dict[str, list[Any]]:
    """The columns of ``predictions.parquet`` besides the scores."""
    prompts = [row.prompt_json() if isinstance(row, Prompted) else "[]" for row in task.rows]
    return {
        "row": list(task.data.row_numbers),
        "prompt": prompts,
        "reference": list(references),
        "prediction": list(answers),
    }


def _token_notes(tokens: Any, task: EvaluationTask) -> tuple[str, ...]:
    """What of the rows the model is not shown: what the cutoff takes, and what its chat template has no place for."""
    lost = [
        f"in {len(numbers)} of {len(task.rows)} rows {remark}, and the model is not shown them"
        for remark, numbers in tokens.remarks.items()
        if remark.startswith(NO_PLACE)
    ]
    count = int(tokens.truncated.sum())
    if count:
        lost.append(
            f"{count} of {len(tokens)} rows don't fit into {task.cutoff} tokens and are cut as in training; a larger "
            "--cutoff keeps more of them"
        )
    return tuple(lost)


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


# The stages that encode rows as they are scored, where the result's own stage is of another kind.
_STAGES: dict[Kind, TrainingStage] = {"answers": SFT(), "pairs": DPO(), "text": Pretrain(), "labels": KTO()}
_MEASURES: dict[Kind, Callable[[Policy, EvaluationTask], MeasuredRows]] = {
    "answers": _measure_answers,
    "pairs": _measure_pairs,
    "text": _measure_text,
    "labels": _measure_labels,
    "prompts": _measure_prompts,
    "classes": _measure_classes,
}
