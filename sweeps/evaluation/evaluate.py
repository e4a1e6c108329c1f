"""``paretune evaluate``: one result or two, measured on rows, on a text they should still know, and by benchmarks.

evaluations/NAME/  evaluation.json  predictions.parquet  (and -other, benchmarks, for what else was asked)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.console import loading_progress
from sweeps.evaluation.findings import ResultFindings, evaluation_tree, parquet_tables
from sweeps.evaluation.output import write_evaluation
from sweeps.evaluation.request import EvaluationRequest
from sweeps.evaluation.significance import Statistics
from sweeps.runs.artifacts import Answers
from sweeps.runs.resolve import resolve
from trainables.evaluation import evaluation_rows, forgetting, lm_eval
from trainables.evaluation.evaluate import EvaluationTask, Settings, check_supported, measure
from trainables.evaluation.evaluation_rows import EvaluationRows
from trainables.evaluation.forgetting import ReferenceTexts
from trainables.inference.model_pool import LoadedModel, ModelPool
from trainables.inference.result import Result
from trainables.models.folder import ModelError
from trainables.scoring.measures import Measured

BENCHMARK_BATCH = 8


def evaluate(
    request: EvaluationRequest, answers: Answers, by: Statistics, warn: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """Evaluates, writes, and returns the folder and what its ``evaluation.json`` says. ``warn`` is told what to mind.

    Raises what a user can mend: ``ModelError``, ``DataError``, ``TemplateError``, ``ScorerError``, ``HarnessError``,
    ``ValueError``.
    """
    _check(request)
    results = [resolve(text, answers, request.trust, request.template) for text in request.results]
    with loading_progress.shown(), _room():
        rows = _rows(request, results)
        known = ReferenceTexts.read(request.forgetting) if request.forgetting else None
        folder = _folder(request, rows)
        settings = _shared(request.settings, results)
        asked = [EvaluationTask(result, rows, settings) if rows else None for result in results]
        _refuse(asked, known, results)
        pool, warnings = ModelPool(), list(rows.warnings if rows else ())
        found = [
            _found(request, settings, pool, *each, known, warnings)
            for each in zip(results, asked, strict=True)
        ]
    told = evaluation_tree(request, settings, rows, known, found, by)
    warnings += _other_measure(request, told["comparison"])
    told["warnings"] = list(dict.fromkeys(warnings))
    for warning in told["warnings"]:
        warn(warning)
    write_evaluation(folder, told, parquet_tables(found))
    return folder, told


def _check(request: EvaluationRequest) -> None:
    if request.data and request.part:
        raise ValueError("--part is of the trial's own data, and --data is all of another; give one of them")
    if not request.settings.generate and (request.settings.scorer or request.settings.sampling):
        raise ValueError("--no-generate leaves no answers to draw or to score; leave it out")
    if request.benchmarks is not None:
        request.benchmarks.check()


def _rows(request: EvaluationRequest, results: list[Result]) -> EvaluationRows | None:
    if not request.wants_rows:
        return None
    owner = next((result for result in results if result.run is not None), results[0])
    if request.data is not None:
        found = evaluation_rows.load_named(owner, request.data, request.kind)
    else:
        found = evaluation_rows.load_held_out(owner, request.part or "test", request.kind)
    return found.some(request.rows, request.seed)


def _shared(settings: Settings, results: list[Result]) -> Settings:
    """With one cutoff for all results: that of the first that a trial left."""
    if settings.cutoff is not None:
        return settings
    owner = next((result for result in results if result.run is not None), results[0])
    return replace(settings, cutoff=owner.config.data.cutoff)


def _refuse(asked: list[EvaluationTask | None], known: ReferenceTexts | None, results: list[Result]) -> None:
    """All that can be told before a model is loaded."""
    for each in asked:
        if each is not None:
            check_supported(each)
    for result in results:
        result.folder()
    if known is not None and not any(map(_has_before, results)):
        forgetting.before_training(results[0])  # says why


def _has_before(result: Result) -> bool:
    return result.trained_folder is not None and result.generates_text


def _found(
    request: EvaluationRequest,
    settings: Settings,
    pool: ModelPool,
    result: Result,
    asked: EvaluationTask | None,
    known: ReferenceTexts | None,
    warnings: list[str],
) -> ResultFindings:
    loaded, found = pool.load(result), ResultFindings(result)
    with loaded.active() as policy:
        if asked is not None:
            found = replace(found, rows=measure(policy, asked), seen=_seen(asked, warnings))
        if request.benchmarks is not None:
            batch = settings.batch_size or BENCHMARK_BATCH
            found = replace(found, benchmarks=lm_eval.run(policy, request.benchmarks, batch))
    if known is not None and _has_before(result):
        before = _likelihoods(pool.load(forgetting.before_training(result)), loaded, known, settings)
        after = _likelihoods(loaded, loaded, known, settings)
        found = replace(found, before=before, after=after)
    for each in (found.rows, found.benchmarks, found.before, found.after):
        _finite(result, each)
    warnings += [f"{result.name}: {note}" for note in (found.rows.notes if found.rows else ())]
    warnings += _unlike_the_record(request, found)
    return found


def _likelihoods(model: LoadedModel, generator: LoadedModel, known: ReferenceTexts, settings: Settings) -> Measured:
    """Of a model, with the tokenizer of another made of it: both read the same pieces."""
    with model.active() as policy:
        policy = replace(policy, tokenizer=generator.tokenizer)
        cutoff = settings.cutoff or generator.result.config.data.cutoff
        return forgetting.measure_likelihood(policy, known, cutoff, settings.batch_size)


def _seen(asked: EvaluationTask, warnings: list[str]) -> int:
    count, unknown = evaluation_rows.count_trained_on(asked.result, asked.material)
    warnings += unknown
    total = len(asked.material.rows)
    if count:
        warnings.append(
            f"{asked.result.name} was trained on {count} of these {total} rows (their prompts are in its training "
            "rows): what it gets on them says little of others"
        )
    return count


def _finite(result: Result, measured: Measured | None) -> None:
    for each in measured.measures if measured else ():
        if not math.isfinite(each.value):
            raise ModelError(f"{result.name}: {each.name} is {each.value}; its weights are damaged")


def _unlike_the_record(request: EvaluationRequest, found: ResultFindings) -> Iterator[str]:
    """A warning where what the trial's record says isn't what was found, evaluated as the trial was."""
    record, rows = found.result.record, found.rows
    own = request.data is None and request.part in (None, "test") and request.rows is None
    if record is None or rows is None or not own or request.settings != Settings():
        return
    if found.result.name != request.results[0]:
        return
    for each in rows.measures:
        if each.name == record.quality_name and record.quality is not None and each.value != record.quality:
            yield (
                f"{found.result.name}: {each.name} is {each.value:.6g} here and {record.quality:.6g} in its record; "
                "another machine or other packages round differently"
            )


def _other_measure(request: EvaluationRequest, comparison: dict[str, Any] | None) -> Iterator[str]:
    """A warning where ``--by`` names nothing: what was found by then isn't thrown away for that."""
    if comparison is not None and request.by not in (None, comparison["by"]):
        names = ", ".join(comparison["differences"])
        yield f"--by {request.by}: no such measure of both by row; there are {names}"


def _folder(request: EvaluationRequest, rows: EvaluationRows | None) -> Path:
    """Where to; refused where something is already, unless ``force`` says that an evaluation may go."""
    folder = request.output or Path("evaluations") / _name(request, rows)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    if not (folder / "evaluation.json").is_file():
        raise ValueError(f"{folder} is there and is no evaluation; give another --output")
    if not request.force:
        raise ValueError(
            f"{folder} holds an evaluation already; give another --output, or --force to replace it"
        )
    return folder


def _name(request: EvaluationRequest, rows: EvaluationRows | None) -> str:
    results = "-vs-".join(_slug(text) for text in request.results)
    what = f"{rows.name}-{rows.part}" if rows and rows.part else rows.name if rows else None
    return f"{results}-{_slug(what or ('benchmarks' if request.benchmarks else 'forgetting'))}"


def _slug(text: str) -> str:
    last = text.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "result"


@contextmanager
def _room() -> Iterator[None]:
    """Says what to do where memory runs out."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(f"memory ran out; give a smaller --batch-size ({error})") from error
