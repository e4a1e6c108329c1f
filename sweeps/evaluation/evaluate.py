"""``paretune evaluate``: measures one or two results on rows, on a text for forgetting, and on benchmarks.

It writes ``evaluation.json`` and ``predictions.parquet`` to ``evaluations/NAME/``; a second result has
``predictions-other.parquet``, and benchmarks have ``benchmarks.parquet`` and ``benchmarks-other.parquet``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.console import loading_progress
from sweeps.evaluation.findings import ResultFindings, evaluation_tree, parquet_tables
from sweeps.evaluation.output import write_evaluation
from sweeps.evaluation.request import EvaluationRequest
from sweeps.evaluation.significance import Statistics
from sweeps.runs.artifacts import BestTrials
from sweeps.runs.resolve import resolve
from trainables.evaluation import evaluation_rows, forgetting, lm_eval
from trainables.evaluation.evaluate import (
    EvaluationTask,
    Settings,
    asks_for_rewards,
    check_supported,
    measure,
)
from trainables.evaluation.evaluation_rows import EvaluationRows
from trainables.evaluation.forgetting import ReferenceTexts
from trainables.inference.model_pool import LoadedModel, ModelPool
from trainables.inference.result import Result, load_trusted_rewards
from trainables.methods.own_method import TRUST
from trainables.models.folder import ModelError
from trainables.scoring.measures import MeasuredRows

BENCHMARK_BATCH_SIZE = 8


def evaluate(
    request: EvaluationRequest, best_trials: BestTrials, statistics: Statistics, warn: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """Evaluates the requested results. Returns the folder that was written and the content of its ``evaluation.json``.

    ``warn`` is called with each warning. Raises what a user can fix: ``ModelError``, ``DataError``, ``TemplateError``,
    ``ScorerError``, ``HarnessError``, ``ValueError``.
    """
    _check_options(request)
    results = [resolve(text, best_trials, request.trust, request.template) for text in request.results]
    with loading_progress.display(), _memory_advice():
        data = _load_rows(request, results)
        texts = ReferenceTexts.read(request.forgetting) if request.forgetting else None
        # What can be refused is refused before a model is loaded: the folder first, then the tasks.
        folder = _output_folder(request, data)
        settings = _with_common_cutoff(request.settings, results)
        tasks = [EvaluationTask(result, data, settings) if data else None for result in results]
        _check_tasks(tasks, texts, results)
        _load_rewards(tasks, request.trust)
        pool, warnings = ModelPool(), list(data.warnings if data else ())
        findings = [
            _evaluate_result(request, settings, pool, result, task, texts, warnings)
            for result, task in zip(results, tasks, strict=True)
        ]
    tree = evaluation_tree(request, settings, data, texts, findings, statistics)
    warnings += _unknown_measure(request, tree["comparison"])
    tree["warnings"] = list(dict.fromkeys(warnings))
    for warning in tree["warnings"]:
        warn(warning)
    write_evaluation(folder, tree, parquet_tables(findings))
    return folder, tree


def _check_options(request: EvaluationRequest) -> None:
    if request.data and request.part:
        raise ValueError(
            "--part is for the trial's own data, and --data evaluates on all rows of another; give one of them"
        )
    if not request.settings.generate and (request.settings.scorer or request.settings.sampling):
        raise ValueError(
            "with --no-generate there are no answers to sample or to score; leave out --no-generate, or the options "
            "for sampling and --scorer"
        )
    if request.benchmarks is not None:
        request.benchmarks.check()


def _load_rows(request: EvaluationRequest, results: list[Result]) -> EvaluationRows | None:
    if not request.wants_rows:
        return None
    owner = _first_of_a_trial(results)
    if request.data is not None:
        data = evaluation_rows.load_named(owner, request.data, request.kind)
    else:
        data = evaluation_rows.load_held_out(owner, request.part or "test", request.kind)
    return data.sample(request.rows, request.seed)


def _with_common_cutoff(settings: Settings, results: list[Result]) -> Settings:
    """The settings with one cutoff for all results: by default that of the first result of a trial."""
    if settings.cutoff is not None:
        return settings
    return replace(settings, cutoff=_first_of_a_trial(results).config.data.scored_cutoff)


def _first_of_a_trial(results: list[Result]) -> Result:
    """The first result that a trial made; without any, the first result."""
    return next((result for result in results if result.run is not None), results[0])


def _check_tasks(
    tasks: list[EvaluationTask | None], texts: ReferenceTexts | None, results: list[Result]
) -> None:
    """Raises ``ModelError`` for what is known to be impossible before a model is loaded."""
    for task in tasks:
        if task is not None:
            check_supported(task)
    for result in results:
        result.folder()
    if texts is not None and not any(map(_can_forget, results)):
        forgetting.before_training(results[0])  # raises, and says why


def _load_rewards(tasks: Sequence[EvaluationTask | None], trust: Sequence[str]) -> None:
    """Runs the code of rewards that score the answers, where it is trusted. Raises ``ModelError`` where it can't be."""
    for task in tasks:
        if task is not None and task.result.run is not None and TRUST in trust and asks_for_rewards(task):
            load_trusted_rewards(task.result.config, task.result.run)


def _can_forget(result: Result) -> bool:
    return result.trained_folder is not None and result.generates_text


def _evaluate_result(
    request: EvaluationRequest,
    settings: Settings,
    pool: ModelPool,
    result: Result,
    task: EvaluationTask | None,
    texts: ReferenceTexts | None,
    warnings: list[str],
) -> ResultFindings:
    """Everything requested about one result; adds to ``warnings``."""
    loaded, findings = pool.load(result), ResultFindings(result)
    with loaded.active() as policy:
        if task is not None:
            trained_on = _count_trained_on(task, warnings)
            findings = replace(findings, rows=measure(policy, task), rows_trained_on=trained_on)
        if request.benchmarks is not None:
            batch_size = settings.batch_size or BENCHMARK_BATCH_SIZE
            benchmarks = lm_eval.run(policy, request.benchmarks, batch_size)
            findings = replace(findings, benchmarks=benchmarks)
    # After the block above, because results that share a base model can't be active at the same time.
    if texts is not None and _can_forget(result):
        untrained = pool.load(forgetting.before_training(result))
        before = _text_likelihood(untrained, loaded, texts, settings)
        after = _text_likelihood(loaded, loaded, texts, settings)
        findings = replace(findings, before=before, after=after)
    for measured in (findings.rows, findings.benchmarks, findings.before, findings.after):
        _check_finite(result, measured)
    warnings += [f"{result.name}: {note}" for note in (findings.rows.notes if findings.rows else ())]
    warnings += _differences_from_record(request, findings)
    return findings


def _text_likelihood(
    model: LoadedModel, tokenized_by: LoadedModel, texts: ReferenceTexts, settings: Settings
) -> MeasuredRows:
    """The likelihood of the texts to ``model``, split into tokens by the trained result's tokenizer, so that the models
    before and after training read the same pieces.
    """
    with model.active() as policy:
        policy = replace(policy, tokenizer=tokenized_by.tokenizer)
        cutoff = settings.cutoff or tokenized_by.result.config.data.cutoff
        return forgetting.measure_likelihood(policy, texts, cutoff, settings.batch_size)


def _count_trained_on(task: EvaluationTask, warnings: list[str]) -> int:
    """How many of the rows the result was trained on; warns of them and of training rows that can't be read."""
    count, unknown = evaluation_rows.count_trained_on(task.result, task.data)
    warnings += unknown
    if count:
        warnings.append(
            f"{task.result.name} was trained on {count} of these {len(task.rows)} rows (its training rows open "
            "with the same user turns): its scores on them say little about other rows"
        )
    return count


def _check_finite(result: Result, measured: MeasuredRows | None) -> None:
    for each in measured.measures if measured else ():
        if not math.isfinite(each.value):
            raise ModelError(f"{result.name}: {each.name} is {each.value}; the model's weights are damaged")


def _differences_from_record(request: EvaluationRequest, findings: ResultFindings) -> Iterator[str]:
    """A warning if the quality differs from the trial's record although it was measured in the same way."""
    record, rows = findings.result.record, findings.rows
    as_the_trial = (
        request.data is None
        and request.part in (None, "test")
        and request.rows is None
        and request.settings == Settings()
        and findings.result.name == request.results[0]  # the test rows are those of the first result
    )
    if record is None or rows is None or not as_the_trial:
        return
    for each in rows.measures:
        # Compared exactly, because the same rows and batches give the same number on the same machine.
        if each.name == record.quality_name and record.quality is not None and each.value != record.quality:
            yield (
                f"{findings.result.name}: {each.name} is {each.value:.6g} now and {record.quality:.6g} in the trial's "
                "record; other hardware or package versions round differently"
            )


def _unknown_measure(request: EvaluationRequest, comparison: dict[str, Any] | None) -> Iterator[str]:
    """A warning if there is no measure ``--by``: no error, because everything was measured by then."""
    if comparison is not None and request.by not in (None, comparison["by"]):
        names = ", ".join(comparison["differences"])
        yield f"--by {request.by}: both results have no measure of that name by row; they have {names}"


def _output_folder(request: EvaluationRequest, data: EvaluationRows | None) -> Path:
    """The folder to write to. Raises ``ValueError`` if it holds something already, unless that is an evaluation which
    ``force`` allows to replace.
    """
    folder = request.output or Path("evaluations") / _folder_name(request, data)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return folder
    if not (folder / "evaluation.json").is_file():
        raise ValueError(f"{folder} exists and is not an evaluation; give another --output")
    if not request.force:
        raise ValueError(
            f"{folder} holds an evaluation already; give another --output, or --force to replace it"
        )
    return folder


def _folder_name(request: EvaluationRequest, data: EvaluationRows | None) -> str:
    results = "-vs-".join(_slug(text) for text in request.results)
    if data is not None:
        subject = f"{data.name}-{data.part}" if data.part else data.name
    else:
        subject = "benchmarks" if request.benchmarks else "forgetting"
    return f"{results}-{_slug(subject)}"


def _slug(text: str) -> str:
    last = text.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "result"


@contextmanager
def _memory_advice() -> Iterator[None]:
    """Turns running out of GPU memory into a ``ModelError`` that says what to do."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ModelError(f"out of memory; give a smaller --batch-size ({error})") from error
