"""How long trials took on this machine, kept from sweep to sweep to predict how long the next ones take.

A trial's time is that of training, which goes with its tokens; that of scoring, which goes with its rows; and the rest:
loading, measuring memory, saving.
"""

from __future__ import annotations

import contextlib
import math
import socket
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field

from sweeps.planning.memory.residuals import compiled_part
from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.locks import locked
from trainables.storage.stored_values import read_stored, valid_entries
from trainables.system import machine

if TYPE_CHECKING:
    from sweeps.planning.cell import Cell
    from trainables.results import Record
    from trainables.trial.config import TrialConfig

MAX_SPEEDS = 1000  # stored; the oldest make way
MAX_STARTS = 20
MAX_START_SECONDS = 86_400.0  # no start takes a day
TRIALS, STARTS = "trials", "start_seconds"  # the keys of the file
ENDED_WELL = ("done", "stopped")
AtLeast0 = Annotated[float, Field(ge=0)]


@dataclass(frozen=True)
class Speed:
    """What one trial took: ``train_seconds`` for its ``tokens`` in ``rows`` rows, ``test_seconds`` for ``test_rows``.

    ``other_seconds``: all but training and scoring. ``first``: the first of its slot, which also starts processes.
    ``parameters`` of the model; ``cpus`` of each worker; ``data``: its label, and the cutoff;
    ``sets``: the hashes of its further evaluation sets, which have ``set_rows``.
    """

    # The file that it is read from may have been edited.
    __pydantic_config__ = ConfigDict(allow_inf_nan=False)

    similarity: str
    hardware: str
    model: str
    parameters: Annotated[int, Field(gt=0)]
    cpus: AtLeast0
    data: str
    tokens: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(ge=0)]
    train_seconds: AtLeast0
    test_rows: Annotated[int, Field(ge=0)]
    test_seconds: AtLeast0
    other_seconds: AtLeast0
    first: bool = False
    sets: str = ""
    set_rows: Annotated[int, Field(ge=0)] = 0
    set_seconds: AtLeast0 = 0.0


def cache_file() -> Path:
    return home() / "speeds.json"


def similarity_key(config: TrialConfig, workers: int) -> str:
    """What trials have in common that are as fast, apart from the sizes of model and rows and the cores."""
    train, model = config.train, config.model
    method = "base" if config.method is None else config.method.similarity
    # Generated answers take another time than a loss, for the same rows.
    scored = config.data.quality or "loss"
    parts = (
        config.stage.kind, method, scored, train.precision, model.dtype, train.gradient_checkpointing, train.packing,
        train.sharding, f"{workers} workers",
    )  # fmt: skip
    return "/".join(map(str, (*parts, *compiled_part(train))))


def data_key(config: TrialConfig) -> str:
    return f"{config.data.sha256 or config.data.label} {config.data.cutoff}"


def sets_key(config: TrialConfig) -> str:
    """The rows of the further evaluation sets; empty without any."""
    return " ".join(each.sha256 for each in config.data.planned_sets.values())


@cache
def hardware(on_gpus: bool) -> str:
    """The name of this machine's GPUs, or of its processor."""
    if not on_gpus:
        return str(machine.describe_machine()["cpu_model"])
    names = machine.gpu_names()
    return names[0] if names else "GPU"


def speed_of(cell: Cell, record: Record, **changes: Any) -> Speed | None:
    """What a trial of a cell took by its record; ``None`` where that says nothing of the next ones.

    Trials that were interrupted, or ran elsewhere, don't count; ``changes`` replace what the record has.
    """
    from trainables.trial.config import TrialConfig

    if record.status not in ENDED_WELL or record.host != socket.gethostname():
        return None
    # One that was not scored was not measured either: what a whole trial takes beside training, it doesn't say.
    if record.status == "stopped" and record.test_seconds is None:
        return None
    config = TrialConfig.model_validate(record.config)
    other = _other_seconds(record)
    if other is None or not record.total_params or record.retried_batch_size is not None:
        return None
    known = {
        "similarity": similarity_key(config, record.workers or 1),
        "hardware": hardware(record.device == "cuda"),
        "model": config.model.label,
        "parameters": record.total_params,
        "cpus": cell.resources.cpus,
        "data": data_key(config),
        "tokens": record.tokens or 0,
        "rows": (record.steps or 0) * config.train.update_rows,
        "train_seconds": record.train_seconds or 0.0,
        "test_rows": record.test_rows or 0,
        "test_seconds": record.test_seconds or 0.0,
        "other_seconds": other,
        "sets": sets_key(config),
        "set_rows": sum(each.rows for each in record.sets.values()),
        "set_seconds": sum(each.seconds or 0.0 for each in record.sets.values()),
        "first": record.slot_trial == 0,
    }
    return Speed(**{**known, **changes})


def _other_seconds(record: Record) -> float | None:
    """Those of a trial beside training and scoring; ``None`` where it was resumed, and only its last part is known."""
    if record.started_at is None or record.ended_at is None:
        return None
    seconds = (_at(record.ended_at) or 0.0) - (_at(record.started_at) or 0.0)
    worked = (record.train_seconds or 0.0) + (record.eval_seconds or 0.0)
    return max(0.0, seconds - worked) if seconds >= worked - 1 else None


def _at(moment: str | None) -> float | None:
    """Seconds since 1970."""
    return None if moment is None else datetime.fromisoformat(moment).timestamp()


def store_speeds(cells: Iterable[Cell], records: Iterable[Record], seconds: float) -> None:
    """Stores what the trials of a sweep took, which ends now and began ``seconds`` ago, for later predictions."""
    by_name = {cell.name: cell for cell in cells}
    began = time.time() - seconds
    ran = [record for record in records if (_at(record.started_at) or 0.0) >= began]
    found = [
        (record.trial_id, speed_of(by_name[record.cell], record)) for record in ran if record.cell in by_name
    ]
    ends = [end for record in ran if (end := _at(record.ended_at)) is not None]
    starts = [start for record in ran if (start := _at(record.started_at)) is not None]
    overhead = [seconds - (max(ends) - min(starts)) + _first_seconds(ran)] if ends and starts else []
    store({key: speed for key, speed in found if speed is not None}, overhead)


def _first_seconds(records: Sequence[Record]) -> float:
    """How much longer the first trials of slots take than the others, apart from training and scoring."""
    by_first: dict[bool, list[float]] = {True: [], False: []}
    for record in records:
        if record.slot_trial is not None and (other := _other_seconds(record)) is not None:
            by_first[record.slot_trial == 0].append(other)
    if not (by_first[True] and by_first[False]):
        return 0.0
    return max(0.0, statistics.fmean(by_first[True]) - statistics.median(by_first[False]))


def store(new: Mapping[str, Speed], start: Sequence[float] = ()) -> None:
    """Adds speeds by trial, and seconds that sweeps took beside their trials.

    A trial that ran again replaces what it took before.
    """
    if not (new or start):
        return
    path = cache_file()
    # A cache that can't be written costs a prediction, not the sweep.
    with contextlib.suppress(OSError), locked(path.with_name(".speeds.lock")):
        older = {key: value for key, value in stored_speeds().items() if key not in new}
        newest = list({**older, **new}.items())[-MAX_SPEEDS:]
        starts = [*_stored_starts(), *start][-MAX_STARTS:]
        files.write_json(path, {TRIALS: {key: asdict(value) for key, value in newest}, STARTS: starts})


def stored_speeds() -> dict[str, Speed]:
    """All stored speeds by trial, oldest first; none where the file is missing or damaged."""
    return valid_entries(read_stored(cache_file()).get(TRIALS), Speed)


def start_seconds() -> float:
    """What sweeps took on this machine beside their trials: starting Ray and its first processes. 0 if unknown."""
    starts = _stored_starts()
    return float(statistics.median(starts)) if starts else 0.0


def _stored_starts() -> list[float]:
    found = read_stored(cache_file()).get(STARTS)
    return [each for each in found if _is_duration(each)] if isinstance(found, list) else []


def _is_duration(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value < MAX_START_SECONDS


def similar_speeds(similarity: str, on_gpus: bool) -> Iterator[Speed]:
    """The stored speeds of similar trials on this machine's hardware, oldest first."""
    for speed in stored_speeds().values():
        if speed.similarity == similarity and speed.hardware == hardware(on_gpus):
            yield speed
