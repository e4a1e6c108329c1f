"""What an evaluation measured of each result, and the content of ``evaluation.json``."""

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
from trainables.scoring.measures import MeasuredRows
from trainables.system import provenance


@dataclass(frozen=True)
class ResultFindings:
    """What was measured of one result; ``None`` for what was not requested.

    ``rows_trained_on``: how many of the evaluated rows the result was trained on. ``before`` and ``after`` are the
    likelihood of the text for forgetting, before and after training.
    """

    result: Result
    rows: MeasuredRows | None = None
    rows_trained_on: int | None = None
    before: MeasuredRows | None = None
    after: MeasuredRows | None = None
    benchmarks: MeasuredRows | None = None


def evaluation_tree(
    request: EvaluationRequest,
    settings: Settings,
    data: EvaluationRows | None,
    texts: ReferenceTexts | None,
    findings: list[ResultFindings],
    statistics: Statistics,
) -> dict[str, Any]:
    """The content of ``evaluation.json`` except for the warnings."""
    return {
        "evaluated_at": provenance.now(),
        "results": [_result(each, statistics) for each in findings],
        "data": _data(data) if data else None,
        "forgetting": {"name": texts.name, "sha256": texts.sha256} if texts else None,
        "settings": _settings(request, settings),
        "comparison": _comparison(request, findings, statistics) if len(findings) > 1 else None,
        "commit": provenance.commit(),
        "packages": dict(provenance.package_versions()),
    }


def _result(findings: ResultFindings, statistics: Statistics) -> dict[str, Any]:
    result, record, rows = findings.result, findings.result.record, findings.rows
    # Empty for the final model, whose folder's name has no step.
    step = result.trained_folder.name.partition("checkpoint-")[2] if result.trained_folder else ""
    return {
        "result": result.name,
        "trial_id": record.trial_id if record else None,
        "cell": record.cell if record else None,
        "step": int(step) if step else None,
        "model": result.config.model.label,
        "folder": str(result.trained_folder or result.folder()),
        "adapter": result.is_adapter,
        "rows_trained_on": findings.rows_trained_on,
        "metrics": _metrics(rows, statistics),
        "main_metric": rows.main if rows else None,
        "libraries": rows.libraries if rows else {},
        "forgetting": _forgetting(findings, statistics),
        "benchmarks": _metrics(findings.benchmarks, statistics),
        "harness": findings.benchmarks.libraries["lm-eval"] if findings.benchmarks else None,
    }


def _metrics(measured: MeasuredRows | None, statistics: Statistics) -> dict[str, Any]:
    metrics = {}
    for each in measured.measures if measured else ():
        low, high = significance.interval(each, statistics, measured.clusters if measured else None) or (
            None,
            None,
        )
        metrics[each.name] = {
            "value": each.value,
            "low": low,
            "high": high,
            "unit": each.unit,
            "higher_is_better": each.higher_is_better,
            "how": each.how,
        }
    return metrics


def _forgetting(findings: ResultFindings, statistics: Statistics) -> dict[str, Any] | None:
    if findings.before is None or findings.after is None:
        return None
    # After minus before: more bits per byte, above 0, mean that the text is predicted worse.
    differences = significance.differences(findings.after, findings.before, statistics)
    main = significance.deciding_difference(differences, "bits_per_byte")
    return {
        "before": _metrics(findings.before, statistics),
        "after": _metrics(findings.after, statistics),
        "differences": {each.measure.name: each.to_json() for each in differences},
        "sentence": _forgetting_sentence(findings.result, main) if main else None,
    }


def _forgetting_sentence(result: Result, main: significance.Difference) -> str:
    before, after = significance.format_value(main.other), significance.format_value(main.measure.value)
    figures = f"{before} bits per byte before, {after} after (difference {main.low:+.3g} to {main.high:+.3g})"
    if main.independent_rows < significance.MIN_ROWS:
        return f"{result.name}: {figures}; {main.rows} pieces of text are too few for a conclusion."
    if not main.settled:
        return f"{result.name} shows no significant forgetting of the text: {figures}."
    change = (
        "predicts the text worse than before"
        if main.difference > 0
        else "predicts the text better than before"
    )
    return f"{result.name} {change}: {figures}."


def _comparison(
    request: EvaluationRequest, findings: list[ResultFindings], statistics: Statistics
) -> dict[str, Any]:
    one, other = findings
    differences = [
        each
        for ours, theirs in ((one.rows, other.rows), (one.benchmarks, other.benchmarks))
        if ours and theirs
        for each in significance.differences(ours, theirs, statistics)
    ]
    first = one.rows or one.benchmarks
    main = significance.deciding_difference(differences, request.by or "", first.main if first else "")
    return {
        "differences": {each.measure.name: each.to_json() for each in differences},
        "by": main.measure.name if main else None,
        "sentence": significance.verdict(main, one.result.name, other.result.name) if main else None,
    }


def _data(data: EvaluationRows) -> dict[str, Any]:
    return {
        "name": data.name,
        "kind": data.kind,
        "part": data.part,
        "rows": len(data.rows),
        "of": data.total,
        "sha256": data.sha256,
        "one_right_answer": data.one_right_answer,
    }


def _settings(request: EvaluationRequest, settings: Settings) -> dict[str, Any]:
    sampling, benchmarks = settings.sampling, request.benchmarks
    return {
        "rows": request.rows,
        "seed": request.seed,
        "batch_size": settings.batch_size,
        "cutoff": settings.cutoff,
        "decoding": None if not settings.generate else "sampled" if sampling else "greedy",
        "temperature": sampling.temperature if sampling else None,
        "top_p": sampling.top_p if sampling else None,
        "top_k": sampling.top_k if sampling else None,
        "max_new_tokens": settings.max_new_tokens,
        "scorer": settings.scorer.path if settings.scorer else None,
        "benchmarks": {"tasks": list(benchmarks.tasks), "shots": benchmarks.shots, "chat": benchmarks.chat}
        if benchmarks
        else None,
    }


def parquet_tables(findings: list[ResultFindings]) -> dict[str, dict[str, list[Any]]]:
    """The columns of each Parquet file, by the file's name without ``.parquet``."""
    tables = {}
    # Not strict, because there may be one result only.
    for each, suffix in zip(findings, ("", "-other"), strict=False):
        if each.rows is not None:
            tables[f"predictions{suffix}"] = each.rows.table()
        if each.benchmarks is not None:
            tables[f"benchmarks{suffix}"] = each.benchmarks.columns
    return tables
