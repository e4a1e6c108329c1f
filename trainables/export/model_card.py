"""The model card of an export: the data and settings it was trained with, its scores, and how to load it.

The card goes to other people together with the model, so it contains no path of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from huggingface_hub import ModelCard, ModelCardData

from trainables import results
from trainables.data.errors import DataError
from trainables.evaluation import trial_rows
from trainables.export import check_tables, license, loading_example, merge_verdict
from trainables.export.markdown import escaped, inline_code, table
from trainables.export.public_settings import dataset_hub_id, public_data_name, public_settings
from trainables.inference.result import Result
from trainables.results import Record
from trainables.system import provenance, redaction
from trainables.system.byte_sizes import gib

if TYPE_CHECKING:
    from trainables.export.exported import Exported

ShareInterval = Callable[[float, int], tuple[float, float]]  # (share, number of rows) -> 95 % interval
NAME = "README.md"
PEAKS = {"peak_load_bytes": "loading", "peak_train_bytes": "training", "peak_eval_bytes": "scoring"}
UNKNOWN_LICENSE = "see-the-base-model"


def render(result: Result, exported: Exported, interval: ShareInterval) -> ModelCard:
    """The content of ``README.md``. ``interval`` gives the 95 % interval of a share of rows."""
    below = result.base_folder() if result.trained_folder else result.folder()
    licence = license.license_of(result.config.model, below)
    lines = [
        *_title(result),
        *_data(result),
        *_settings(result),
        *_scores(result, interval),
        *_memory(result.record),
        *_checks(exported),
        *loading_example.lines(result, exported),
        "## Licence",
        "",
        f"That of the base model: {licence}." if licence else "See the base model.",
        "",
        *_packages(result.record),
    ]
    body = redaction.redacted("\n".join(lines).rstrip() + "\n")
    return ModelCard(f"---\n{_metadata(result, exported, licence).to_yaml()}\n---\n\n{body}")


def _metadata(result: Result, exported: Exported, licence: str | None) -> ModelCardData:
    """The metadata block that model hubs read."""
    config = result.config
    values = {
        "base_model": license.repository(config.model) or license.public_name(config.model),
        "library_name": "transformers" if exported.dtype else "peft",
        "pipeline_tag": _pipeline(result),
        "license": licence or "other",
        "license_name": None if licence else UNKNOWN_LICENSE,
        "tags": ["paretune", config.stage.kind, config.method.kind if config.method else "base"],
        "datasets": [hub_id for name in config.data.names if (hub_id := dataset_hub_id(name))] or None,
    }
    return ModelCardData(**redaction.redacted_values(values))


def _title(result: Result) -> Iterator[str]:
    config, record = result.config, result.record
    base = inline_code(license.public_name(config.model))
    trained = f" {config.stage.kind} {config.method_name}" if config.method else ""
    yield from (f"# {escaped(config.model.label + trained)}", "")
    if config.method is None:
        yield from (f"{base} without any training, exported by Paretune.", "")
        return
    trial = f"trial {inline_code(record.trial_id)}, " if record else ""
    cell = inline_code(config.cell)
    yield f"{base}, trained by {config.stage.kind} with {config.method.kind} ({trial}cell {cell})."
    if config.model.start is not None:
        yield f"Training started from the result of {escaped(config.model.start.label)} on the same base model."
    if record and record.status != "done":
        yield f"The trial ended as {record.status}."
    yield ""


def _data(result: Result) -> Iterator[str]:
    config, record = result.config.data, result.record
    if result.config.method is None:
        return
    yield from ("## Data", "")
    rows = [("trained on", ", ".join(map(public_data_name, config.names)))]
    if config.eval_names:
        rows.append(("held out", ", ".join(map(public_data_name, config.eval_names))))
    # The record has the hash of the rows that were trained on; the config's was computed while planning.
    digest = (record.data_sha256 if record else None) or config.sha256
    rows += [("SHA-256 of all rows", digest)] if digest else []
    rows += _training_rows(result)
    rows += [("test rows", str(record.test_rows))] if record and record.test_rows else []
    rows += [("training steps", str(record.steps))] if record and record.steps else []
    if record and record.kept_step not in (None, record.steps):
        rows.append(("weights of step", f"{record.kept_step}, that of the best validation"))
    rows += [("tokens trained on", f"{record.tokens:,}")] if record and record.tokens else []
    yield from table(("", ""), [(name, inline_code(value)) for name, value in rows])


def _training_rows(result: Result) -> list[tuple[str, str]]:
    """The number of training rows, if the data is on this machine."""
    try:
        return [("training rows", str(len(trial_rows.load_rows(result).train)))]
    except DataError:
        return []


def _settings(result: Result) -> Iterator[str]:
    config = result.config
    if config.method is None:
        return
    yield from ("## Method and settings", "")
    sections = {
        "method": config.method,
        "stage": config.stage,
        "train": config.train,
        "model": config.model,
        "data": config.data,
    }
    rows = [
        (
            f"{section}.{key}",
            inline_code(json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value),
        )
        for section, values in sections.items()
        for key, value in public_settings(values).items()
    ]
    yield from table(("setting", "value"), [("method", inline_code(config.method.kind)), *rows])


def _scores(result: Result, interval: ShareInterval) -> Iterator[str]:
    record = result.record
    if record is None or not record.metrics:
        return
    base = _base_record(result, record)
    yield from ("## Scores", "")
    rows = [
        (escaped(name), _score(record, name, interval), _score(base, name, interval) if base else "–")
        for name in record.metrics
    ]
    yield from table(("metric", "this model", "untrained base model"), rows)
    sentences = [f"On {record.test_rows} test rows that were used neither in training nor in the search."]
    if record.quality_unit == "fraction":
        sentences.append("In brackets: the 95 % interval (Wilson).")
    if record.quality_name:
        sentences.append(f"The quality that results are compared by is {escaped(record.quality_name)}.")
    if base is None:
        sentences.append("The run has no score of the untrained base model.")
    yield from (" ".join(sentences), "")


def _score(record: Record, name: str, interval: ShareInterval) -> str:
    value = record.metrics.get(name)
    if value is None:
        return "–"
    if name != record.quality_name or record.quality_unit != "fraction" or not record.test_rows:
        return f"{value:.4g}"
    low, high = interval(value, record.test_rows)
    return f"{value:.1%} ({low:.1%} to {high:.1%})"


def _base_record(result: Result, record: Record) -> Record | None:
    """The record of the base trial that scored the untrained model on the same rows."""
    if result.run is None:
        return None
    records = (each for folder in results.trial_folders(result.run) if (each := results.read_record(folder)))
    same = ("stage", "model", "data_sha256", "start_trial", "test_rows", "quality_name")
    return next(
        (
            each
            for each in records
            if each.role == "base" and all(getattr(each, name) == getattr(record, name) for name in same)
        ),
        None,
    )


def _memory(record: Record | None) -> Iterator[str]:
    peaks = {phase: getattr(record, name) for name, phase in PEAKS.items() if getattr(record, name, None)}
    if record is None or not peaks:
        return
    yield from ("## Memory", "")
    figures = ", ".join(f"{phase} {gib(count)}" for phase, count in peaks.items())
    where = {"cuda": " of a GPU", "rss": " of a process on a CPU"}.get(str(record.memory_source), "")
    yield from (f"Peak memory{where}, above its use before the model was loaded: {figures}.", "")


def _checks(exported: Exported) -> Iterator[str]:
    yield from ("## Checks of this export", "")
    for each in check_tables.check_tables(exported):
        yield from (each.sentence, "", *table(each.columns, (map(escaped, cells) for cells in each.rows)))
    if verdicts := list(merge_verdict.verdict_sentences(exported)):
        yield from (escaped(" ".join(verdicts)), "")
    if exported.notes:
        yield from (*(f"- {escaped(note)}" for note in exported.notes), "")


def _pipeline(result: Result) -> str:
    if result.predicts_masked:
        return "fill-mask"
    return "text-generation" if result.generates_text else "text-classification"


def _packages(record: Record | None) -> Iterator[str]:
    yield from ("## Made with", "")
    trained, exported = record.packages if record else {}, provenance.package_versions()
    rows = [(name, trained.get(name, "–"), exported.get(name, "–")) for name in {**trained, **exported}]
    yield from table(("package", "trained with", "exported with"), rows)
