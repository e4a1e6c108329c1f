"""The model card of an export: what it was trained on, how, how well it does, and how to load it.

It goes with the model to other people, so no path of this machine is in it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from trainables import results
from trainables.data.errors import DataError
from trainables.evaluation import trial_rows
from trainables.export import check_tables, license
from trainables.export.markdown import escaped, inline_code, row, table
from trainables.export.public_settings import dataset_hub_id, public_data_name, public_settings
from trainables.inference.result import Result
from trainables.results import Record
from trainables.system import provenance, redaction
from trainables.system.byte_sizes import gib

if TYPE_CHECKING:
    from trainables.export.exported import Exported

ShareInterval = Callable[[float, int], tuple[float, float]]  # of a share of so many rows
NAME = "README.md"
PEAKS = {"peak_load_bytes": "loading", "peak_train_bytes": "training", "peak_eval_bytes": "scoring"}
UNKNOWN = "see-the-base-model"


def render(result: Result, exported: Exported, interval: ShareInterval) -> str:
    """The whole ``README.md``."""
    licensed = license.license_of(result.config.model, result.base_folder() if result.trained_folder else result.folder())
    parts = [
        *_front(result, exported, licensed),
        *_made(result),
        *_data(result),
        *_settings(result),
        *_scores(result, interval),
        *_memory(result.record),
        *_checked(exported),
        *_loading(result, exported),
        "## Licence",
        "",
        f"That of the base model: {licensed}." if licensed else "See the base model.",
        "",
        *_packages(result.record),
    ]
    return redaction.redacted("\n".join(parts).rstrip() + "\n")


def _front(result: Result, exported: Exported, licensed: str | None) -> Iterator[str]:
    """What hubs read. JSON is YAML, so texts are quoted as JSON."""
    config = result.config
    model, kind = config.model, config.method.kind if config.method else "base"
    front: dict[str, Any] = {
        "base_model": license.repository(model) or license.public_name(model),
        "library_name": "transformers" if exported.dtype else "peft",
        "pipeline_tag": "text-generation" if result.generates_text else "text-classification",
        "license": licensed or "other",
        **({} if licensed else {"license_name": UNKNOWN}),
        "tags": ["paretune", config.stage.kind, kind],
    }
    if hubs := [hub for name in config.data.names if (hub := dataset_hub_id(name))]:
        front["datasets"] = hubs
    yield "---"
    yield from (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items())
    yield from ("---", "")


def _made(result: Result) -> Iterator[str]:
    config = result.config
    base = license.public_name(config.model)
    yield from (f"# {escaped(_title(result))}", "")
    if config.method is None:
        yield from (f"{inline_code(base)} as it comes, written in another form by Paretune.", "")
        return
    whose = f"trial {inline_code(result.record.trial_id)}, " if result.record else ""
    yield f"{inline_code(base)}, trained by {config.stage.kind} with {config.method.kind} ({whose}cell {inline_code(config.cell)})."
    if config.model.start is not None:
        yield f"It started from what {escaped(config.model.start.label)} had made of the base."
    if result.record and result.record.status != "done":
        yield f"The trial ended as {result.record.status}."
    yield ""


def _title(result: Result) -> str:
    method = f" {result.config.stage.kind} {result.config.method_name}" if result.config.method else ""
    return f"{result.config.model.label}{method}"


def _data(result: Result) -> Iterator[str]:
    config, record = result.config.data, result.record
    if result.config.method is None:
        return
    yield from ("## Data", "")
    rows = [("trained on", ", ".join(map(public_data_name, config.names)))]
    if config.eval_names:
        rows.append(("held out", ", ".join(map(public_data_name, config.eval_names))))
    digest = (record.data_sha256 if record else None) or config.sha256
    rows += [("SHA-256 of all rows", digest)] if digest else []
    rows += _counted(result)
    rows += [("test rows", str(record.test_rows))] if record and record.test_rows else []
    rows += [("training steps", str(record.steps))] if record and record.steps else []
    rows += [("tokens trained on", f"{record.tokens:,}")] if record and record.tokens else []
    yield from table(("", ""), [(name, inline_code(value)) for name, value in rows])


def _counted(result: Result) -> list[tuple[str, str]]:
    """How many rows there are to train on, where the data is here to be asked."""
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
        for key, value in public_settings(values.model_dump(mode="json")).items()
    ]
    yield from table(("setting", "value"), [("method", inline_code(config.method.kind)), *rows])


def _scores(result: Result, interval: ShareInterval) -> Iterator[str]:
    record = result.record
    if record is None or not record.metrics:
        return
    base = _base_of(result, record)
    yield from ("## Scores", "")
    rows = [
        (escaped(name), _score(record, name, interval), _score(base, name, interval) if base else "–")
        for name in record.metrics
    ]
    yield from table(("metric", "this model", "the base, untrained"), rows)
    share = record.quality_unit == "fraction"
    yield (
        f"On {record.test_rows} test rows that were neither trained on nor searched by"
        f"{'; in brackets the 95 % interval (Wilson)' if share else ''}."
        + (f" Quality is {escaped(str(record.quality_name))}." if record.quality_name else "")
        + ("" if base else " The base's own score isn't recorded here.")
    )
    yield ""


def _score(record: Record, name: str, interval: ShareInterval) -> str:
    value = record.metrics.get(name)
    if value is None:
        return "–"
    if name != record.quality_name or record.quality_unit != "fraction" or not record.test_rows:
        return f"{value:.4g}"
    low, high = interval(value, record.test_rows)
    return f"{value:.1%} ({low:.1%} to {high:.1%})"


def _base_of(result: Result, record: Record) -> Record | None:
    """The row of what the trial started from, scored untrained on the same rows."""
    if result.run is None:
        return None
    found = (each for folder in results.trial_folders(result.run) if (each := results.read_record(folder)))
    same = ("stage", "model", "data_sha256", "start_trial", "test_rows", "quality_name")
    return next(
        (
            each
            for each in found
            if each.role == "base" and all(getattr(each, name) == getattr(record, name) for name in same)
        ),
        None,
    )


def _memory(record: Record | None) -> Iterator[str]:
    measured = {told: getattr(record, name) for name, told in PEAKS.items() if getattr(record, name, None)}
    if record is None or not measured:
        return
    yield from ("## Memory", "")
    said = ", ".join(f"{told} {gib(count)}" for told, count in measured.items())
    of = {"cuda": "of a GPU", "rss": "of a process on a CPU"}.get(str(record.memory_source), "")
    yield from (f"Peaks {of}, above what it held before it loaded anything: {said}.", "")


def _checked(exported: Exported) -> Iterator[str]:
    yield from ("## What was checked of this export", "")
    for each in check_tables.check_tables(exported):
        yield from (each.sentence, "", *table(each.names, (map(escaped, cells) for cells in each.rows)))
    if exported.notes:
        yield from (*(f"- {escaped(note)}" for note in exported.notes), "")


def _loading(result: Result, exported: Exported) -> Iterator[str]:
    yield from ("## Loading it", "", "```python")
    remote = ", trust_remote_code=True" if result.config.model.runs_remote_code else ""
    loader = "AutoModelForCausalLM" if result.generates_text else "AutoModelForSequenceClassification"
    if exported.dtype is None:
        named = {"CAUSAL_LM": "AutoPeftModelForCausalLM", "SEQ_CLS": "AutoPeftModelForSequenceClassification"}
        loader = named[result.config.stage.task]
        yield from ("from peft import " + loader, "from transformers import AutoTokenizer")
    else:
        yield f"from transformers import {loader}, AutoTokenizer"
    yield from (
        "",
        f'model = {loader}.from_pretrained("FOLDER", dtype="auto"{remote})',
        f'tokenizer = AutoTokenizer.from_pretrained("FOLDER"{remote})',
    )
    if result.generates_text:
        yield from _asking()
    yield from ("```", "")


def _asking() -> Sequence[str]:
    return (
        'messages = [{"role": "user", "content": "..."}]',
        "inputs = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
        ")",
        "answer = model.generate(**inputs, max_new_tokens=256)",
        'print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    )


def _packages(record: Record | None) -> Iterator[str]:
    yield from ("## Made with", "")
    then, now = record.packages if record else {}, provenance.packages()
    rows = [row((name, then.get(name, "–"), now.get(name, "–"))) for name in {**then, **now}]
    yield from (row(("package", "trained with", "exported with")), row(("---", "---", "---")), *rows, "")
