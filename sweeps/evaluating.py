"""``paretune evaluate``: one result or two, measured on rows, on a text they should still know, and by benchmarks.

evaluations/NAME/  evaluation.json  predictions.parquet  (and -other, benchmarks, for what else was asked)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sweeps import compared, preparing
from sweeps.compared import Statistics
from sweeps.evaluated import write
from sweeps.named import Answers, resolve
from trainables import provenance
from trainables.inference import forgetting, harness, material
from trainables.inference.evaluate import Asked, Settings, measure, refuse
from trainables.inference.forgetting import Known
from trainables.inference.harness import Benchmarks
from trainables.inference.material import Kind, Material, Part
from trainables.inference.measures import Measured
from trainables.inference.result import Result
from trainables.inference.shelf import Loaded, Shelf
from trainables.model_folder import ModelError

BENCHMARK_BATCH = 8


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


def evaluate(
    request: Request, answers: Answers, by: Statistics, warn: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """Evaluates, writes, and returns the folder and what its ``evaluation.json`` says. ``warn`` is told what to mind.

    Raises what a user can mend: ``ModelError``, ``DataError``, ``TemplateError``, ``ScorerError``, ``HarnessError``,
    ``ValueError``.
    """
    _check(request)
    results = [resolve(text, answers, request.trust, request.template) for text in request.results]
    with preparing.shown(), _room():
        rows = _rows(request, results)
        known = Known.read(request.forgetting) if request.forgetting else None
        folder = _folder(request, rows)
        settings = _shared(request.settings, results)
        asked = [Asked(result, rows, settings) if rows else None for result in results]
        _refuse(asked, known, results)
        shelf, warnings = Shelf(), list(rows.warnings if rows else ())
        found = [
            _found(request, settings, shelf, *each, known, warnings)
            for each in zip(results, asked, strict=True)
        ]
    tree = _tree(request, settings, rows, known, found, by)
    warnings += _other_measure(request, tree["comparison"])
    tree["warnings"] = list(dict.fromkeys(warnings))
    for warning in tree["warnings"]:
        warn(warning)
    write(folder, tree, _tables(found))
    return folder, tree


def _check(request: Request) -> None:
    if request.data and request.part:
        raise ValueError("--part is of the trial's own data, and --data is all of another; give one of them")
    if not request.settings.generate and (request.settings.scorer or request.settings.sampling):
        raise ValueError("--no-generate leaves no answers to draw or to score; leave it out")
    if request.benchmarks is not None:
        request.benchmarks.check()


def _rows(request: Request, results: list[Result]) -> Material | None:
    if not request.wants_rows:
        return None
    owner = next((result for result in results if result.run is not None), results[0])
    if request.data is not None:
        found = material.named(owner, request.data, request.kind)
    else:
        found = material.held_out(owner, request.part or "test", request.kind)
    return found.some(request.rows, request.seed)


def _shared(settings: Settings, results: list[Result]) -> Settings:
    """With one cutoff for all results: that of the first that a trial left."""
    if settings.cutoff is not None:
        return settings
    owner = next((result for result in results if result.run is not None), results[0])
    return replace(settings, cutoff=owner.config.data.cutoff)


def _refuse(asked: list[Asked | None], known: Known | None, results: list[Result]) -> None:
    """All that can be told before a model is loaded."""
    for each in asked:
        if each is not None:
            refuse(each)
    for result in results:
        result.folder()
    if known is not None and not any(map(_has_before, results)):
        forgetting.before(results[0])  # says why


def _has_before(result: Result) -> bool:
    return result.left is not None and result.speaks


def _found(
    request: Request,
    settings: Settings,
    shelf: Shelf,
    result: Result,
    asked: Asked | None,
    known: Known | None,
    warnings: list[str],
) -> Found:
    loaded, found = shelf.take(result), Found(result)
    with loaded.active() as policy:
        if asked is not None:
            found = replace(found, rows=measure(policy, asked), seen=_seen(asked, warnings))
        if request.benchmarks is not None:
            batch = settings.batch_size or BENCHMARK_BATCH
            found = replace(found, benchmarks=harness.run(policy, request.benchmarks, batch))
    if known is not None and _has_before(result):
        before = _likelihoods(shelf.take(forgetting.before(result)), loaded, known, settings)
        after = _likelihoods(loaded, loaded, known, settings)
        found = replace(found, before=before, after=after)
    for each in (found.rows, found.benchmarks, found.before, found.after):
        _finite(result, each)
    warnings += [f"{result.name}: {note}" for note in (found.rows.notes if found.rows else ())]
    warnings += _unlike_the_record(request, found)
    return found


def _likelihoods(model: Loaded, speaker: Loaded, known: Known, settings: Settings) -> Measured:
    """Of a model, with the tokenizer of another made of it: both read the same pieces."""
    with model.active() as policy:
        policy = replace(policy, tokenizer=speaker.tokenizer)
        cutoff = settings.cutoff or speaker.result.config.data.cutoff
        return forgetting.likelihoods(policy, known, cutoff, settings.batch_size)


def _seen(asked: Asked, warnings: list[str]) -> int:
    count, unknown = material.trained_on(asked.result, asked.material)
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


def _unlike_the_record(request: Request, found: Found) -> Iterator[str]:
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


def _tree(
    request: Request,
    settings: Settings,
    rows: Material | None,
    known: Known | None,
    found: list[Found],
    by: Statistics,
) -> dict[str, Any]:
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


def _other_measure(request: Request, comparison: dict[str, Any] | None) -> Iterator[str]:
    """A warning where ``--by`` names nothing: what was found by then isn't thrown away for that."""
    if comparison is not None and request.by not in (None, comparison["by"]):
        names = ", ".join(comparison["differences"])
        yield f"--by {request.by}: no such measure of both by row; there are {names}"


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


def _tables(found: list[Found]) -> dict[str, dict[str, list[Any]]]:
    """The columns of each Parquet file."""
    tables = {}
    for each, end in zip(found, ("", "-other"), strict=False):
        if each.rows is not None:
            tables[f"predictions{end}"] = each.rows.table()
        if each.benchmarks is not None:
            tables[f"benchmarks{end}"] = each.benchmarks.columns
    return tables


def _folder(request: Request, rows: Material | None) -> Path:
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


def _name(request: Request, rows: Material | None) -> str:
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
