"""What an evaluation was asked for, what it found, and both as ``evaluation.json`` has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sweeps.evaluation import significance
from sweeps.evaluation.request import EvaluationRequest
from sweeps.evaluation.significance import Statistics
from trainables.evaluation.evaluate import Settings
from trainables.evaluation.evaluation_rows import EvaluationRows
from trainables.evaluation.forgetting import ReferenceTexts
from trainables.inference.result import Result
from trainables.scoring.measures import Measured
from trainables.system import provenance


@dataclass(frozen=True)
class ResultFindings:
    """What was found of one result."""

    result: Result
    rows: Measured | None = None
    seen: int | None = None  # of the rows, how many it was trained on
    before: Measured | None = None
    after: Measured | None = None
    benchmarks: Measured | None = None


def evaluation_tree(
    request: EvaluationRequest,
    settings: Settings,
    rows: EvaluationRows | None,
    known: ReferenceTexts | None,
    found: list[ResultFindings],
    by: Statistics,
) -> dict[str, Any]:
    """All of it for ``evaluation.json``, but for the warnings."""
    return {
        "evaluated_at": provenance.now(),
        "results": [_result(each, by) for each in found],
        "data": _data(rows) if rows else None,
        "forgetting": {"name": known.name, "sha256": known.sha256} if known else None,
        "settings": _settings(request, settings),
        "comparison": _comparison(request, found, by) if len(found) > 1 else None,
        "commit": provenance.commit(),
        "packages": dict(provenance.packages()),
    }


def _result(found: ResultFindings, by: Statistics) -> dict[str, Any]:
    result, record = found.result, found.result.record
    at = result.trained_folder.name.partition("checkpoint-")[2] if result.trained_folder else ""
    return {
        "result": result.name,
        "trial_id": record.trial_id if record else None,
        "cell": record.cell if record else None,
        "step": int(at) if at else None,
        "model": result.config.model.label,
        "folder": str(result.trained_folder or result.folder()),
        "adapter": result.is_adapter,
        "rows_trained_on": found.seen,
        "metrics": _metrics(found.rows, by),
        "main_metric": found.rows.main if found.rows else None,
        "libraries": found.rows.libraries if found.rows else {},
        "forgetting": _forgotten(found, by),
        "benchmarks": _metrics(found.benchmarks, by),
        "harness": found.benchmarks.libraries["lm-eval"] if found.benchmarks else None,
    }


def _metrics(measured: Measured | None, by: Statistics) -> dict[str, Any]:
    found = {}
    for each in measured.measures if measured else ():
        low, high = significance.interval(each, by) or (None, None)
        found[each.name] = {
            "value": each.value,
            "low": low,
            "high": high,
            "unit": each.unit,
            "higher_is_better": each.higher_is_better,
            "how": each.how,
        }
    return found


def _forgotten(found: ResultFindings, by: Statistics) -> dict[str, Any] | None:
    if found.before is None or found.after is None:
        return None
    told = significance.differences(found.after, found.before, by)
    main = significance.deciding_difference(told, "bits_per_byte")
    return {
        "before": _metrics(found.before, by),
        "after": _metrics(found.after, by),
        "differences": {each.measure.name: each.to_json() for each in told},
        "sentence": _remembered(found.result, main) if main else None,
    }


def _remembered(result: Result, main: significance.Difference) -> str:
    before, after = significance.format_value(main.other), significance.format_value(main.measure.value)
    figures = f"{before} bits per byte before, {after} after (difference {main.low:+.3g} to {main.high:+.3g})"
    if main.rows < significance.MIN_ROWS:
        return f"{result.name}: {figures}; {main.rows} pieces of text are too few to tell more."
    if not main.settled:
        return f"{result.name} knows the text as well as before, as far as can be told: {figures}."
    worse = "has forgotten of the text" if main.difference > 0 else "knows the text better than before"
    return f"{result.name} {worse}: {figures}."


def _comparison(request: EvaluationRequest, found: list[ResultFindings], by: Statistics) -> dict[str, Any]:
    one, other = found
    told = [
        each
        for mine, its in ((one.rows, other.rows), (one.benchmarks, other.benchmarks))
        if mine and its
        for each in significance.differences(mine, its, by)
    ]
    first = one.rows or one.benchmarks
    main = significance.deciding_difference(told, request.by or "", first.main if first else "")
    return {
        "differences": {each.measure.name: each.to_json() for each in told},
        "by": main.measure.name if main else None,
        "sentence": significance.verdict(main, one.result.name, other.result.name) if main else None,
    }


def _data(rows: EvaluationRows) -> dict[str, Any]:
    about = {"name": rows.name, "kind": rows.kind, "part": rows.part, "rows": len(rows.rows), "of": rows.of}
    return about | {"sha256": rows.sha256, "one_right_answer": rows.exact}


def _settings(request: EvaluationRequest, settings: Settings) -> dict[str, Any]:
    drawn, tasks = settings.sampling, request.benchmarks
    return {
        "rows": request.rows,
        "seed": request.seed,
        "batch_size": settings.batch_size,
        "cutoff": settings.cutoff,
        "decoding": None if not settings.generate else "sampled" if drawn else "greedy",
        "temperature": drawn.temperature if drawn else None,
        "top_p": drawn.top_p if drawn else None,
        "top_k": drawn.top_k if drawn else None,
        "max_new_tokens": settings.max_new_tokens,
        "scorer": settings.scorer.path if settings.scorer else None,
        "benchmarks": {"tasks": list(tasks.tasks), "shots": tasks.shots, "chat": tasks.chat}
        if tasks
        else None,
    }


def parquet_tables(found: list[ResultFindings]) -> dict[str, dict[str, list[Any]]]:
    """The columns of each Parquet file."""
    named = {}
    for each, end in zip(found, ("", "-other"), strict=False):
        if each.rows is not None:
            named[f"predictions{end}"] = each.rows.table()
        if each.benchmarks is not None:
            named[f"benchmarks{end}"] = each.benchmarks.columns
    return named
