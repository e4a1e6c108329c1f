"""Results of trials: a trial's record and curve, and the tables of a whole run.

The only module of ``trainables`` that ``reports`` may import, so it imports neither torch nor ray.

    runs/NAME/trials/TRIAL_ID/record.json, curve.jsonl  ->  runs/NAME/trials.parquet, curves.parquet
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field, ValidationInfo, field_validator

from trainables.auc import drawn_auc as drawn_auc  # for reports, which may import this module only
from trainables.config.base import FileName, Frozen
from trainables.config.evaluation_sets import SET_ENDINGS as SET_ENDINGS  # for reports
from trainables.config.evaluation_sets import SetName
from trainables.storage import files
from trainables.storage.damaged_files import DamagedFile, read_bytes, read_object
from trainables.storage.damaged_files import reading as reading
from trainables.storage.names import checked_part
from trainables.system import redaction
from trainables.system.cell_names import cells_named as cells_named  # for reports

Status = Literal["done", "stopped", "out_of_memory", "failed", "interrupted"]
Role = Literal["search", "base", "finalist", "added"]
Phase = Literal["load", "forward", "backward", "step", "eval"]
# Of a trial's base model: loaded for the trial; kept in memory from the trial before; or loaded because that trial had
# changed it.
BaseOrigin = Literal["loaded", "kept", "changed"]
# What an objective is of: validation rows, or the training loss on batches that were not seen before.
Comparison = Literal["validation", "training"]
# Of keys in `environment.json`; others are shown as they are.
ENVIRONMENT_TYPES: Mapping[str, type | UnionType] = {
    "plan": dict, "report": dict, "test_rows": dict, "packages": dict, "seconds": int | float,
    "memory_bytes": int | float, "first_comparison": dict,
}  # fmt: skip
# Of a claim in `environment.json`: the time, whether that was after the run had begun, and who published it.
STATED_AT, ADDED, CLAIM_SOURCE = "stated_at", "added", "source"
CLAIM_MARKS = (STATED_AT, ADDED, CLAIM_SOURCE)  # beside what is claimed
PAGES_FILE = "tracking.json"  # of trackers' pages that show a run
# How the error of a trial begins whose cell continues from one without a finished trial.
NOTHING_TO_START_FROM = "it continues from the best trial of"


# Qualities between 0 and 1 whose unit is not a share of rows.
WITHIN_ONE = ("auc", "macro_f1", "pair_accuracy")
OBJECTIVE_IS_LOSS = ("sft",)  # stages whose objective is minus the loss that they train by
# In a curve: minus the mean training loss that trials are compared by.
TRAINING_OBJECTIVE = "training_objective"


class SetRecord(Frozen):
    """What a trial was scored on a further evaluation set: ``rows`` of the data ``source``, in ``seconds``.

    ``metrics`` are all measures, ``quality`` that by which the set is judged. The scores by row are in the trial's
    folder, in the file that :func:`set_file` names. ``not_measured``: why ``quality`` is ``None``.
    """

    source: str
    rows: int
    quality: float | None
    not_measured: str | None = None
    quality_name: str
    quality_unit: str
    quality_higher_is_better: bool
    metrics: dict[str, float] = Field(default_factory=dict)
    seconds: float | None = None
    sha256: str | None = None


def set_file(name: SetName) -> str:
    """The file in a trial's folder with the scores by row on a further evaluation set, as ``predictions.parquet``.

    >>> set_file("general")
    'set-general.parquet'
    """
    return f"set-{checked_part(name)}.parquet"


class Record(Frozen):
    """The result of one trial, a row of ``trials.parquet``. ``None`` means "not measured".

    The record of a base model has the role and method ``base``, the cell ``STAGE-base``, and ``None`` wherever only
    training gives a value.
    """

    trial_id: FileName
    cell: FileName
    stage: str
    method: str  # the method's name within the sweep: full, freeze, lora, qlora-4bit, ...
    model: str
    data: str
    seed: int
    role: Role = "search"
    start_cell: FileName | None = (
        None  # whose best trial gave the weights to start from; None: the base model did
    )
    start_trial: FileName | None = None  # that trial
    config: dict[str, Any]
    status: Status
    error: str | None = None
    # Why a trial ended before its last step, in words; of one that was stopped None: its objective was behind that of
    # others of its cell. One that is done had no better validations (train.early_stopping).
    stop_reason: str | None = None
    stopped_by_hand: bool = False  # by `paretune stop RUN:TRIAL`; `stop_reason` says at which step

    # Quality: `objective` is from the validation rows and steers the search; `quality` is from the test rows, which
    # play no part in any choice.
    objective: float | None = None  # higher is better
    objective_name: str | None = None
    compared_by: Comparison | None = None  # what the objective is of; None: the validation rows
    quality: float | None = None
    quality_name: str | None = None
    quality_higher_is_better: bool | None = None
    quality_unit: str | None = None
    test_rows: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    # Rows to train on by data set, where there are several.
    mixture: dict[str, int] = Field(default_factory=dict)
    # Further evaluation sets by their names: what they measure of the trained model. They steer nothing either.
    sets: dict[SetName, SetRecord] = Field(default_factory=dict)

    # Memory. Peaks are above `baseline_bytes`, the memory of the process before it loads anything.
    # "predicted": nothing was measured, and `predicted_peak_bytes` stands alone.
    memory_source: Literal["cuda", "rss", "predicted"] | None = None
    memory_shape: str | None = None  # hash of the settings that memory depends on
    memory_trial: FileName | None = None  # the trial in which this shape was measured
    baseline_bytes: int | None = None
    weight_bytes: int | None = None
    gradient_bytes: int | None = None
    optimizer_bytes: int | None = None
    reference_bytes: int | None = None  # the copy of trained weights that a reference policy may need
    peak_load_bytes: int | None = None
    peak_train_bytes: int | None = None
    peak_eval_bytes: int | None = None
    # On GPUs: the most that the allocator held in any phase, free blocks included, above the baseline.
    reserved_bytes: int | None = None
    predicted_peak_bytes: int | None = None
    # The phase in which memory ran out; "predicted": the trial was not started.
    out_of_memory_in: Phase | Literal["predicted"] | None = None
    room_bytes: int | None = None  # a worker's memory for the trial, if it was predicted not to fit
    retried_batch_size: int | None = None  # batch size with which it resumed after running out of memory
    trainable_params: int | None = None
    total_params: int | None = None
    artifact_bytes: int | None = None

    # Work and time
    tokens: int | None = None  # trained on, without padding
    steps: int | None = None
    # Whose weights are the trial's model, and are scored: `steps` where those are the last ones. Earlier versions wrote
    # none; those of a trial without it are the last ones.
    kept_step: int | None = None
    # Of the best validation, where train.keep or train.early_stopping asks for it.
    best_step: int | None = None
    tokens_per_second: float | None = None  # tokens / train_seconds
    padding_share: float | None = None  # padding among all tokens of the batches, from 0 to 1
    setup_seconds: float | None = None  # from the trial's start on its slot to its first training step
    train_seconds: float | None = None
    eval_seconds: float | None = None
    test_seconds: float | None = None  # of eval_seconds, for the test rows

    # Where and with what
    device: str | None = None
    attention: str | None = None  # the implementation that ran
    kernels: str | None = None  # none, liger or unsloth
    base_origin: BaseOrigin | None = None
    tf32: bool | None = None  # on a GPU: whether matrix products that are left in fp32 are computed in TF32
    allocator: str | None = None  # on a GPU: the settings of torch's allocator
    compiled: str | None = None  # "30 layers in 12 s", or with `on` why layers were not compiled
    rope: str | None = None  # "yarn x 4"; None: the base model's own positions
    quantized_layers: int | None = None  # linear layers whose weights are quantized in memory
    # By kind of layer (attention, mlp, experts, router, other), the shares of the decoder's weights, from 0 to 1, that
    # it has (all), and that are adapted, trained whole, and quantized; the rest is frozen (methods.weight_shares).
    weight_shares: dict[str, dict[str, float]] = Field(default_factory=dict)
    # What the loaded model does (models.forward_probe).
    head_gives_logits: bool | None = None
    rows_can_share: bool | None = None
    # Where it generated: whether by a cache, and several rows at once (models.generation_probe).
    cached_generation: bool | None = None
    padded_generation: bool | None = None
    host: str | None = None
    slot: str | None = None
    slot_trial: int | None = None  # number of the trial on its slot, from 0
    # The workers that trained it together; the memory columns are those of the worker with the highest peak.
    workers: int | None = None
    started_at: str | None = None  # ISO 8601, UTC
    ended_at: str | None = None
    data_sha256: str | None = None
    template_sha256: str | None = None
    commit: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)

    @property
    def comparable_objective(self) -> float | None:
        """The objective where it can stand beside those of other trials: one by training loss has another unit than
        those on the validation rows, but for stages whose objective is minus their loss.
        """
        differs = self.compared_by == "training" and self.stage not in OBJECTIVE_IS_LOSS
        return None if differs else self.objective

    @property
    def ended_early(self) -> bool:
        """Whether the trial is done, though not at its last step: its validations had got no better."""
        return self.status == "done" and self.stop_reason is not None

    @property
    def peak_bytes(self) -> int | None:
        """The largest of the peaks of loading, training and scoring; ``None`` where that of training is unknown."""
        if self.peak_train_bytes is None:
            return None
        return max(self.peak_load_bytes or 0, self.peak_train_bytes, self.peak_eval_bytes or 0)

    @property
    def longest_rows_measured(self) -> bool:
        """Whether the peak of training is that of the longest rows, which is predicted; where there was no room for the
        copies that this needs, it is that of the trial's own batches.
        """
        return self.memory_source != "cuda" or self.gradient_bytes is not None

    @field_validator("out_of_memory_in", mode="before")
    @classmethod
    def _predicted(cls, phase: Any) -> Any:
        return "predicted" if phase == "foretold" else phase  # what older runs wrote

    @field_validator("stopped_by_hand")
    @classmethod
    def _is_how_it_ended(cls, by_hand: bool, info: ValidationInfo) -> bool:
        # One that ran out of memory, or failed, while it was scored for its end ended so.
        return by_hand and info.data.get("status") == "stopped"

    @field_validator("started_at", "ended_at")
    @classmethod
    def _is_moment(cls, moment: str | None) -> str | None:
        if moment is not None:
            datetime.fromisoformat(moment)  # raises ``ValueError`` for what is none
        return moment

    @field_validator("error")
    @classmethod
    def _without_secrets(cls, error: str | None) -> str | None:
        # A hub's error may quote the requested URL, with a token in it.
        return error if error is None else redaction.redacted(error)


def best(records: Iterable[Record]) -> Record | None:
    """The search trial with the best objective among those that are done; ``None`` without any.

    Where several were trained again with other seeds, it is the one of these whose finalists have the best mean
    objective. ``quality`` plays no part: that would be a choice by the test rows. Of equal objectives, the trial that
    needs less memory wins, then the one that started first. Where nothing was held out, no trial has an objective.
    """
    ended = [record for record in records if record.status == "done"]
    done = [record for record in ended if record.objective is not None] or ended
    searched = [record for record in done if record.role == "search"]
    finalists = [record for record in done if record.role == "finalist"]
    again = [(record, _mean_objective(finalists_of(record, finalists))) for record in searched if finalists]
    tried = [(record, mean) for record, mean in again if mean is not None]
    if len(tried) > 1:
        return max(tried, key=lambda pair: pair[1])[0]
    return min(searched, key=_objective_then_memory, default=None)


def finalists_of(record: Record, records: Iterable[Record]) -> list[Record]:
    """The finished trials that trained a trial's configuration again, with other seeds."""
    done = [other for other in records if other.role == "finalist" and other.status == "done"]
    config = _without_seed(record.config)
    return [other for other in done if other.cell == record.cell and _without_seed(other.config) == config]


def expected_trials(ended: Sequence[Record], budget: int, finalists: Mapping[str, int]) -> int:
    """How many trials a cell has when its run has ended: those of its search, and as far as known its finalists.

    ``ended``: the records of the cell's ended trials. ``budget``: the trials of its search. ``finalists``: how many
    times each of how many best configs is trained again, ``{"seeds": 3, "top": 1}``; empty for none.
    """
    searched = [record for record in ended if record.role == "search"]
    # The trial that stands for a cell which has nothing to start from: no other follows it.
    if any((record.error or "").startswith(NOTHING_TO_START_FROM) for record in searched):
        return len(searched)
    # Without held-out rows there is no objective, and nothing is trained again.
    done = sum(record.status == "done" and record.objective is not None for record in searched)
    # A cell without a finished trial has none to train again; one that still searches may find some.
    again = min(finalists.get("top", 1), budget if len(searched) < budget else done)
    seeds = finalists.get("seeds", 1)
    return budget + (seeds * again if seeds > 1 else 0)


def _without_seed(config: dict[str, Any]) -> dict[str, Any]:
    train = {key: value for key, value in (config.get("train") or {}).items() if key != "seed"}
    return {**config, "role": None, "train": train}


def _mean_objective(records: list[Record]) -> float | None:
    objectives = [record.objective for record in records if record.objective is not None]
    return sum(objectives) / len(objectives) if objectives else None


def _objective_then_memory(record: Record) -> tuple[float, float, str]:
    memory = float("inf") if record.peak_bytes is None else record.peak_bytes
    return -(record.objective or 0.0), memory, record.started_at or ""


def _arrow_type(annotation: Any) -> pa.DataType:
    if get_origin(annotation) is dict:
        return pa.string()
    kinds = {annotation, *get_args(annotation)}
    for kind, arrow in ((bool, pa.bool_()), (float, pa.float64()), (int, pa.int64())):
        if kind in kinds:
            return arrow
    return pa.string()  # texts, literals, and dicts as JSON


SCHEMA = pa.schema([(name, _arrow_type(field.annotation)) for name, field in Record.model_fields.items()])
CURVES = pa.schema(
    [("trial_id", pa.string()), ("step", pa.int64()), ("name", pa.string()), ("value", pa.float64())]
)


def write_record(trial_folder: Path, record: Record) -> None:
    """Writes ``record.json`` atomically."""
    files.write_json(trial_folder / "record.json", record.model_dump(mode="json"))


def read_record(trial_folder: Path) -> Record | None:
    """The trial's record, or ``None`` while it has none. Raises ``DamagedFile``."""
    path = trial_folder / "record.json"
    if not path.exists():
        return None
    with reading(path):
        return Record.model_validate_json(read_bytes(path))


def has_ended(trial_folder: Path) -> bool:
    """Whether a trial has ended and will not be resumed: done, stopped, out of memory or failed."""
    record = read_record(trial_folder)
    return record is not None and record.status != "interrupted"


def objectives(trial_folder: Path) -> list[tuple[int, float]]:
    """The (step, value) pairs of a trial's objective on the validation rows so far."""
    return [(p["step"], p["value"]) for p in read_curve(trial_folder) if p["name"] == "objective"]


def rung_values(trial_folder: Path, rungs: Mapping[int, Comparison]) -> dict[int, float]:
    """What a trial was compared by at each of ``rungs`` that it has reached, by step; higher is better."""
    return values_at(read_curve(trial_folder), rungs)


def values_at(points: Iterable[Mapping[str, Any]], rungs: Mapping[int, Comparison]) -> dict[int, float]:
    """The same of the points of a curve."""
    names = {"validation": "objective", "training": TRAINING_OBJECTIVE}
    return {
        point["step"]: point["value"]
        for point in points
        if point["step"] in rungs and point["name"] == names[rungs[point["step"]]]
    }


def read_curve(trial_folder: Path) -> Iterator[dict[str, Any]]:
    """The points of ``curve.jsonl``, ``{"step": 1, "name": ..., "value": ...}``, by name and step.

    A resumed trial repeats the steps after its checkpoint, so the last line for a step and name counts. A line that a
    killed process left incomplete is skipped. Raises ``DamagedFile``.
    """
    path = trial_folder / "curve.jsonl"
    points: dict[tuple[int, str], dict[str, Any]] = {}
    with reading(path):
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            with suppress(json.JSONDecodeError):
                point = json.loads(line)
                step, name = int(point["step"]), str(point["name"])
                points[step, name] = {"step": step, "name": name, "value": float(point["value"])}
    yield from sorted(points.values(), key=lambda point: (point["name"], point["step"]))


def trial_folders(run: Path) -> list[Path]:
    """The folders of all trials of a run, by name."""
    return sorted(path for path in (run / "trials").glob("*") if (path / "config.json").exists())


def _row(record: Record) -> dict[str, Any]:
    row = record.model_dump(mode="json")
    return {name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()}


class Tables:
    """Writes the records and curves of all trials to ``trials.parquet`` and ``curves.parquet``, again and again.

    The files of a trial that has ended are read only once, so writing does not slow down in a long sweep. ``damaged``
    has a sentence for each trial that was left out because one of its files can't be read.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.damaged: dict[str, str] = {}  # by trial id
        self._ended: dict[str, tuple[Record, pa.Table]] = {}  # by trial id: the record and the curve's points

    def write(self) -> None:
        """Writes both tables, atomically."""
        records, curves = self.read_trials()
        tables = {
            "trials.parquet": pa.Table.from_pylist([_row(record) for record in records], schema=SCHEMA),
            "curves.parquet": curves,
        }
        for name, table in tables.items():
            with files.atomic(self.run / name) as temporary:
                pq.write_table(table, temporary)

    def read_trials(self) -> tuple[list[Record], pa.Table]:
        """The records in the order in which their trials started, and the points of all curves."""
        trials = dict(self._trials())
        records = sorted(
            (record for record, _ in trials.values() if record is not None),
            key=lambda record: record.started_at or "",
        )
        return records, pa.concat_tables([CURVES.empty_table(), *(points for _, points in trials.values())])

    def _trials(self) -> Iterator[tuple[str, tuple[Record | None, pa.Table]]]:
        for folder in trial_folders(self.run):
            ended = self._ended.get(folder.name)
            if ended is not None:
                yield folder.name, ended
                continue
            self.damaged.pop(folder.name, None)
            try:
                record, points = _own_record(folder), _points(folder)
            except DamagedFile as error:
                self.damaged[folder.name] = str(error)
                continue
            if record is not None and record.status != "interrupted":
                self._ended[folder.name] = (record, points)
            yield folder.name, (record, points)


def _own_record(folder: Path) -> Record | None:
    """As :func:`read_record`; raises ``DamagedFile`` for the record of another trial, too.

    Only within a run: a trial's folder that people copied elsewhere may have any name.
    """
    record = read_record(folder)
    if record is not None and record.trial_id != folder.name:
        with reading(folder / "record.json"):
            raise ValueError(f"it is the record of trial {record.trial_id!r}")
    return record


def _points(folder: Path) -> pa.Table:
    points = [{"trial_id": folder.name, **point} for point in read_curve(folder)]
    return pa.Table.from_pylist(points, schema=CURVES)


def write_tables(run: Path) -> list[str]:
    """Writes a run's tables once. Returns a sentence for each trial that was left out because of a damaged file."""
    tables = Tables(run)
    tables.write()
    return list(tables.damaged.values())


@dataclass(frozen=True)
class Run:
    """The content of a run folder.

    ``records``: every trial's record, in the order in which trials started. ``curves``: trial_id, step, name, value.
    ``spec``: the text of ``spec.yaml``, ``None`` without one. ``environment``: ``environment.json``, ``{}``
    without one. ``data``: a preview of the rows, an entry for each stage, model and data set (``data.json``, which
    ``sweeps.console.data_preview.to_json`` describes); empty without one. ``pages``: those of trackers that show the
    run, addresses by what they show (``tracking.json``).
    """

    folder: Path
    records: list[Record]
    curves: pa.Table
    spec: str | None
    environment: dict[str, Any]
    data: tuple[dict[str, Any], ...] = ()
    pages: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.name

    def curve(self, trial_id: str, name: str) -> list[tuple[int, float]]:
        """(step, value) pairs of one trial's curve, by step."""
        rows = self.curves.to_pylist()
        return [(r["step"], r["value"]) for r in rows if r["trial_id"] == trial_id and r["name"] == name]


def read_run(run: Path) -> Run:
    """Reads a run folder's tables.

    Raises ``FileNotFoundError`` if ``run`` is not a run folder, ``DamagedFile``.
    """
    path = run / "trials.parquet"
    if not path.exists():
        raise FileNotFoundError(f"{run}: no trials.parquet here; is it a run folder (runs/NAME)?")
    columns = set(Record.model_fields)  # a table that another version wrote may have other columns
    with reading(path):
        records = [
            Record.model_validate(
                {name: _parsed(name, value) for name, value in row.items() if name in columns}
            )
            for row in pq.read_table(path).to_pylist()
        ]
    curves = run / "curves.parquet"
    with reading(curves):
        points = pq.read_table(curves).cast(CURVES) if curves.exists() else CURVES.empty_table()
    return _with_other_files(run, records, points)


def gather_run(run: Path) -> Run:
    """Reads a run folder's trials themselves instead of its tables, which may be older; writes nothing.

    Trials with a damaged file are left out. Raises ``DamagedFile`` for one that isn't a trial's.
    """
    return _with_other_files(run, *Tables(run).read_trials())


def _with_other_files(run: Path, records: list[Record], curves: pa.Table) -> Run:
    spec = run / "spec.yaml"
    return Run(
        folder=run,
        records=records,
        curves=curves,
        spec=spec.read_text(encoding="utf-8", errors="replace") if spec.exists() else None,
        environment=_environment(run / "environment.json"),
        data=_data_previews(run / "data.json"),
        pages=tracker_pages(run),
    )


def tracker_pages(run: Path) -> dict[str, str]:
    """The addresses of trackers' pages about a run, by what they show; only such as are safe to open.

    Empty where the file is missing or can't be read: it holds nothing that was measured.
    """
    path = run / PAGES_FILE
    try:
        trackers = read_object(path) if path.exists() else {}
    except DamagedFile:
        return {}
    pages = [each.get("pages") for each in trackers.values() if isinstance(each, dict)]
    return {
        str(label): str(address)
        for shown in pages
        if isinstance(shown, dict)
        for label, address in shown.items()
        if str(address).startswith(("https://", "http://"))
    }


def _environment(path: Path) -> dict[str, Any]:
    """The contents of ``environment.json``, with values of the types that reports compute with."""
    if not path.exists():
        return {}
    environment = read_object(path)
    with reading(path):
        for key, types in ENVIRONMENT_TYPES.items():
            if not isinstance(environment.get(key), types | None):
                raise ValueError(f"its {key} is {str(environment[key])[:50]!r}")
    return environment


def _data_previews(path: Path) -> tuple[dict[str, Any], ...]:
    if not path.exists():
        return ()
    with reading(path):
        previews = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(previews, list) or not all(isinstance(each, dict) for each in previews):
            raise ValueError("it holds no list of objects")
        return tuple(previews)


_AS_JSON = ("config", "metrics", "mixture", "packages", "sets", "weight_shares")


def _parsed(name: str, value: Any) -> Any:
    return json.loads(value) if name in _AS_JSON else value
