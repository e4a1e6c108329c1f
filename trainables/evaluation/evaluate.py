"""Measuring a model on rows: answers by their likelihood and as it writes them, pairs by their order, texts by their
likelihood. What a trial scored itself by comes out the same here, to the last digit.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from trainables import templates
from trainables.auc import auc
from trainables.config import limits
from trainables.data.loading import Data
from trainables.data.rows import Conversation, Prompt, Prompted
from trainables.data.thinking import matches
from trainables.evaluation.custom_scorer import Scorer
from trainables.evaluation.evaluation_rows import EvaluationRows, Kind
from trainables.inference.batch_answers import generate_answers as answered
from trainables.inference.result import Result
from trainables.inference.sampling import Sampling
from trainables.models.folder import ModelError
from trainables.scoring.generation import greedy, longest_answer
from trainables.scoring.likelihood import Judged, judge, mean_logprobs
from trainables.scoring.measures import FRACTION, Measure, Measured, area, likelihood, of_rows
from trainables.scoring.text_metrics import likeness
from trainables.stages import DPO, KTO, SFT, Pretrain
from trainables.stages.base import TrainingStage
from trainables.stages.preference import Margins, PairStage
from trainables.stages.sft import reference
from trainables.tokenization.encode import Encoded, encode
from trainables.training.policy import Policy

NEW_TOKENS = 256  # an answer's most, where no reference says how long answers are


@dataclass(frozen=True)
class Settings:
    """How rows are evaluated. ``None``: as the result's trial did it, or as the data is.

    ``sampling`` draws answers, which are the most likely ones without it, with ``max_new_tokens`` of here.
    ``characters``: texts are compared by characters and not by words. Without ``generate``, no answers are written.
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
    """A result's rows and settings. ``stage`` and ``cutoff`` are those of its trial."""

    result: Result
    material: EvaluationRows
    settings: Settings

    @property
    def rows(self) -> Sequence[Any]:
        return self.material.rows

    @property
    def cutoff(self) -> int:
        return self.settings.cutoff or self.result.config.data.cutoff

    def stage(self, default: TrainingStage) -> TrainingStage:
        """The result's own stage where it is of that kind, so that rows are scored as it scored its own."""
        own = self.result.config.stage
        kind = PairStage if isinstance(default, PairStage) else type(default)
        stage = own if isinstance(own, kind) else default
        size = self.settings.batch_size
        return stage if size is None else stage.model_copy(update={"eval_batch": size})


def check_supported(asked: EvaluationTask) -> None:
    """Raises ``ModelError`` where the model can't do what its rows ask."""
    result, kind = asked.result, asked.material.kind
    if not result.generates_text and kind != "pairs":
        raise ModelError(
            f"{result.name} is a reward model: it gives a text a number and writes none, so it is evaluated on pairs "
            f"of a chosen and a rejected answer, and {asked.material.name} is taken as {kind}"
        )


def measure(policy: Policy, asked: EvaluationTask) -> Measured:
    """All that the rows tell. Raises ``ModelError`` as :func:`refuse` does, ``ScorerError``."""
    check_supported(asked)
    return _MEASURES[asked.material.kind](policy, asked)


def _answers(policy: Policy, asked: EvaluationTask) -> Measured:
    stage, rows = asked.stage(SFT()), asked.rows
    tokens = stage.tokens(policy.tokenizer, rows, asked.cutoff, scoring=True)
    judged = judge(policy, tokens, stage.eval_batch)
    whole = [_whole(policy, *each, asked.cutoff) for each in zip(rows, tokens, strict=True)]
    references = [reference(policy, *each) for each in zip(rows, whole, strict=True)]
    lost = [len(full.answer) > len(kept.answer) for full, kept in zip(whole, tokens, strict=True)]
    sizes = [None if cut else len(text.encode()) for cut, text in zip(lost, references, strict=True)]
    measures, said = likelihood(judged, sizes), None
    if asked.settings.generate:
        said = _written(policy, asked, tokens, judged, stage.eval_batch)
    return _compared(
        asked, measures, [row.prompt for row in rows], references, said, _cut_notes(tokens, asked)
    )


def _written(
    policy: Policy, asked: EvaluationTask, tokens: Sequence[Encoded], judged: Sequence[Judged], batch: int
) -> list[str]:
    settings = asked.settings
    room = settings.max_new_tokens or longest_answer(judged)
    if settings.sampling is None:
        return greedy(policy, tokens, judged, room, batch)
    prompts = [row.prompt for row in tokens]
    return answered(policy, prompts, asked.material.numbers, settings.sampling, room, batch)


def _whole(policy: Policy, row: Conversation, kept: Encoded, cutoff: int) -> Encoded:
    return encode(row, policy.tokenizer, limits.TOKENS) if kept.truncated else kept


def _compared(
    asked: EvaluationTask,
    measures: tuple[Measure, ...],
    prompts: Sequence[Sequence[Any]],
    references: Sequence[str | None],
    said: list[str] | None,
    notes: tuple[str, ...],
) -> Measured:
    """With what the answers themselves tell: exact match, likeness to the references, one's own score."""
    material, settings = asked.material, asked.settings
    columns = _columns(asked, references, said or [None] * len(references))
    known = [text for text in references if text is not None]
    libraries: dict[str, Any] = {}
    if said is not None and len(known) == len(references) and known:
        right = matches(said, known)
        measures += (of_rows("exact_match", right, unit=FRACTION, how="thoughts and space around aside"),)
        alike, libraries = likeness(said, known, settings.characters)
        measures += alike
    main = "exact_match" if material.exact and said is not None else "loss"
    if said is not None and (scorer := settings.scorer) is not None:
        scores = scorer.rows(material.numbers, prompts, references, said)
        unit = FRACTION if all(score in (0.0, 1.0) for score in scores) else ""
        measures += (of_rows(scorer.name, scores, unit=unit, how=scorer.path),)
        main = scorer.name
    return Measured(columns, measures, main, notes, libraries)


def _prompts(policy: Policy, asked: EvaluationTask) -> Measured:
    stage, settings = asked.result.config.stage, asked.settings
    if stage.row_type is Prompt and settings.scorer is None and settings.sampling is None:
        return _staged(policy, asked, asked.stage(stage))
    room = settings.max_new_tokens or NEW_TOKENS
    ids = [_prompt_ids(policy, row)[-max(asked.cutoff - room, 1) :] for row in asked.rows]
    batch = asked.stage(SFT()).eval_batch
    said = answered(policy, ids, asked.material.numbers, settings.sampling, room, batch)
    prompts, references = zip(*((row.prompt, row.reference) for row in asked.rows), strict=True)
    return _compared(asked, (), prompts, references, said, ())


def _prompt_ids(policy: Policy, row: Prompt) -> list[int]:
    tools = json.loads(row.tools) if row.tools else None
    return templates.prompt_ids(policy.tokenizer, row.prompt, tools)


def _pairs(policy: Policy, asked: EvaluationTask) -> Measured:
    stage = asked.stage(DPO())
    assert isinstance(stage, PairStage)
    both = stage.tokens(policy.tokenizer, asked.rows, asked.cutoff, scoring=True)
    judged = judge(policy, both, stage.eval_batch) if asked.result.generates_text else None
    worth = stage.worth(policy, both) if judged is None else mean_logprobs(judged)
    found = Margins(worth[0::2], worth[1::2])
    how = "by reward" if judged is None else "by mean log-probability per token"
    measures = [
        Measure("pair_accuracy", found.accuracy, _floats(found.right), unit=FRACTION, how=how),
        of_rows("margin", _floats(found.chosen - found.rejected), how=how),
    ]
    if judged is not None:
        value = auc(found.chosen, found.rejected)
        measures.append(area(found.chosen.tolist(), found.rejected.tolist(), value, how=how))
        total = np.array([row.logprob for row in judged])
        by_sum = Margins(total[0::2], total[1::2])
        how = "by the sum of log-probabilities"
        measures.append(
            Measure("pair_accuracy_by_sum", by_sum.accuracy, _floats(by_sum.right), unit=FRACTION, how=how)
        )
    columns = _columns(asked, [row.chosen for row in asked.rows], [None] * len(asked.rows))
    columns["rejected"] = [row.rejected for row in asked.rows]
    columns |= {"chosen_worth": found.chosen.tolist(), "rejected_worth": found.rejected.tolist()}
    return Measured(columns, tuple(measures), "pair_accuracy", _cut_notes(both, asked))


def _text(policy: Policy, asked: EvaluationTask) -> Measured:
    stage = asked.stage(Pretrain())
    assert isinstance(stage, Pretrain)
    bits = stage.bits(policy, asked.rows, asked.cutoff)
    pieces = stage.tokens(policy.tokenizer, asked.rows, asked.cutoff, scoring=True)
    tokens = np.bincount(pieces.rows, weights=pieces.lengths - 1, minlength=len(bits))
    nats = bits * np.log(2)
    judged = [Judged(-float(cost), int(count), []) for cost, count in zip(nats, tokens, strict=True)]
    sizes = [len(row.text.encode()) for row in asked.rows]
    columns = _columns(asked, [row.text for row in asked.rows], [None] * len(sizes))
    return Measured(columns, _as_trained(likelihood(judged, sizes), bits, sizes), "bits_per_byte")


def _as_trained(measures: tuple[Measure, ...], bits: np.ndarray, sizes: Sequence[int]) -> tuple[Measure, ...]:
    """With bits per byte summed up as training does, to the last digit."""
    total = float(bits.sum()) / sum(sizes)
    return tuple(replace(each, value=total) if each.name == "bits_per_byte" else each for each in measures)


def _labels(policy: Policy, asked: EvaluationTask) -> Measured:
    return _staged(policy, asked, asked.stage(KTO()))


def _staged(policy: Policy, asked: EvaluationTask, stage: TrainingStage) -> Measured:
    """What a stage itself says of its kind of rows, under the names it has in records."""
    material = asked.material
    whole = Data(material.name, [], [], asked.rows, material.exact, material.sha256)
    scores = stage.score(policy, whole, asked.rows, asked.cutoff)
    metric = stage.quality(whole)
    main, better = metric.name, metric.higher_is_better
    rows = tuple(row.score for row in scores.rows)
    measures = [Measure(name, value) for name, value in scores.metrics.items() if name != main]
    # Of an area under a curve, a row by itself tells nothing: its scores are what the rows are ordered by.
    own = rows if np.isclose(np.mean(rows), scores.metrics[main]) else None
    columns = _columns(asked, [row.reference for row in scores.rows], [row.prediction for row in scores.rows])
    if own is None:
        columns["score"] = list(rows)
    first = Measure(main, scores.metrics[main], own, higher_is_better=better, unit=metric.unit)
    if main == "auc":
        good, bad = ([getattr(row, side) for row in scores.rows] for side in ("good_worth", "bad_worth"))
        first = area(good, bad, first.value)
    return Measured(columns, (first, *measures), main)


def _columns(
    asked: EvaluationTask, references: Sequence[str | None], said: Sequence[str | None]
) -> dict[str, list[Any]]:
    prompts = [row.prompt_json() if isinstance(row, Prompted) else "[]" for row in asked.rows]
    return {
        "row": list(asked.material.numbers),
        "prompt": prompts,
        "reference": list(references),
        "prediction": list(said),
    }


def _cut_notes(tokens: Any, asked: EvaluationTask) -> tuple[str, ...]:
    count = int(tokens.truncated.sum())
    if not count:
        return ()
    return (
        f"{count} of {len(tokens)} rows don't fit into {asked.cutoff} tokens and are cut as in training; --cutoff "
        "gives them more",
    )


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(map(float, values))


_MEASURES: dict[Kind, Callable[[Policy, EvaluationTask], Measured]] = {
    "answers": _answers,
    "pairs": _pairs,
    "text": _text,
    "labels": _labels,
    "prompts": _prompts,
}
