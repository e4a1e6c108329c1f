"""What an evaluation was asked for, what it found, and both as ``evaluation.json`` has them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps import compared
from sweeps.compared import Statistics
from trainables import provenance
from trainables.inference.evaluate import Settings
from trainables.inference.forgetting import Known
from trainables.inference.harness import Benchmarks
from trainables.inference.material import Kind, Material, Part
from trainables.inference.measures import Measured
from trainables.inference.result import Result


@dataclass(frozen=True)
class Request:
    """What was asked for, as on the command line."""

    results: tuple[str, ...]
    data: str | None = None
    part: Part | None = None
    kind: Kind | None = None
    rows: int | None = None
    seed: int = 0
    by: str | None = None
    forgetting: str | None = None
    benchmarks: Benchmarks | None = None
    settings: Settings = field(default_factory=Settings)
    template: str | None = None
    trust: tuple[str, ...] = ()
    output: Path | None = None
    force: bool = False

    @property
    def wants_rows(self) -> bool:
        """Whether rows are evaluated: unless only a text or benchmarks are asked for."""
        asked = self.data or self.part or self.kind or self.rows
        return bool(asked) or not (self.forgetting or self.benchmarks)


@dataclass(frozen=True)
class Found:
    """What was found of one result."""

    result: Result
    rows: Measured | None = None
    seen: int | None = None  # of the rows, how many it was trained on
    before: Measured | None = None
    after: Measured | None = None
    benchmarks: Measured | None = None


def tree(
    request: Request,
    settings: Settings,
    rows: Material | None,
    known: Known | None,
    found: list[Found],
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


def _result(found: Found, by: Statistics) -> dict[str, Any]:
    result, record = found.result, found.result.record
    at = result.left.name.partition("checkpoint-")[2] if result.left else ""
    return {
        "result": result.name,
        "trial_id": record.trial_id if record else None,
        "cell": record.cell if record else None,
        "step": int(at) if at else None,
        "model": result.config.model.label,
        "folder": str(result.left or result.folder()),
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
        low, high = compared.interval(each, by) or (None, None)
        found[each.name] = {
            "value": each.value,
            "low": low,
            "high": high,
            "unit": each.unit,
            "higher_is_better": each.higher_is_better,
            "how": each.how,
        }
    return found


def _forgotten(found: Found, by: Statistics) -> dict[str, Any] | None:
    if found.before is None or found.after is None:
        return None
    told = compared.differences(found.after, found.before, by)
    main = compared.main(told, "bits_per_byte")
    return {
        "before": _metrics(found.before, by),
        "after": _metrics(found.after, by),
        "differences": {each.measure.name: each.to_json() for each in told},
        "sentence": _remembered(found.result, main) if main else None,
    }


def _remembered(result: Result, main: compared.Difference) -> str:
    before, after = compared.shown(main.other), compared.shown(main.measure.value)
    figures = f"{before} bits per byte before, {after} after (difference {main.low:+.3g} to {main.high:+.3g})"
    if main.rows < compared.LEAST:
        return f"{result.name}: {figures}; {main.rows} pieces of text are too few to tell more."
    if not main.settled:
        return f"{result.name} knows the text as well as before, as far as can be told: {figures}."
    worse = "has forgotten of the text" if main.difference > 0 else "knows the text better than before"
    return f"{result.name} {worse}: {figures}."


def _comparison(request: Request, found: list[Found], by: Statistics) -> dict[str, Any]:
    one, other = found
    told = [
        each
        for mine, its in ((one.rows, other.rows), (one.benchmarks, other.benchmarks))
        if mine and its
        for each in compared.differences(mine, its, by)
    ]
    first = one.rows or one.benchmarks
    main = compared.main(told, request.by or "", first.main if first else "")
    return {
        "differences": {each.measure.name: each.to_json() for each in told},
        "by": main.measure.name if main else None,
        "sentence": compared.sentence(main, one.result.name, other.result.name) if main else None,
    }


def _data(rows: Material) -> dict[str, Any]:
    about = {"name": rows.name, "kind": rows.kind, "part": rows.part, "rows": len(rows.rows), "of": rows.of}
    return about | {"sha256": rows.sha256, "one_right_answer": rows.exact}


def _settings(request: Request, settings: Settings) -> dict[str, Any]:
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


def tables(found: list[Found]) -> dict[str, dict[str, list[Any]]]:
    """The columns of each Parquet file."""
    named = {}
    for each, end in zip(found, ("", "-other"), strict=False):
        if each.rows is not None:
            named[f"predictions{end}"] = each.rows.table()
        if each.benchmarks is not None:
            named[f"benchmarks{end}"] = each.benchmarks.columns
    return named
