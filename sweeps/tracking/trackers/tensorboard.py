"""TensorBoard: event files in the run folder, a folder for each trial, with its HParams plugin.

    runs/NAME/tensorboard/CELL/TRIAL/events.out.tfevents...   the curves of a trial, its settings and its results
    runs/NAME/tensorboard/events.out.tfevents...              the answer, the Pareto front, what the plugin shows

``tensorboardX``, which Ray Tune needs as well, has their format: neither TensorFlow nor TensorBoard is imported. The
plugin's messages are described in ``tensorboard/plugins/hparams/{api,plugin_data}.proto``.
"""

from __future__ import annotations

import re
import shlex
import struct
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from sweeps.spec.settings import TrackingConfig
from sweeps.tracking import flat_values
from sweeps.tracking.base import FollowedRun, FollowedTrial, TrackedRun, TrackedTrial, Tracker
from sweeps.tracking.flat_values import Plain
from sweeps.tracking.run_summary import RunSummary
from trainables import results
from trainables.results import Record

RESULT = "result/"  # begins the tags of a trial's results; those of its curves are the curves' names
ALWAYS_SHOWN = (
    "method_name",
    "stage.kind",
)  # in the plugin's table, even if they are the same for all trials
_VALUE_KINDS = {str: "string_value", bool: "bool_value", int: "number_value", float: "number_value"}
# One name, so that what is written again takes the place of what was there, in the folder and at its URL.
FILE = "events.out.tfevents.0.paretune"


class TensorBoard(Tracker):
    """Writes event files that ``tensorboard --logdir`` shows."""

    name: ClassVar[str] = "tensorboard"
    label: ClassVar[str] = "TensorBoard"

    @classmethod
    def requested(cls, tracking: TrackingConfig) -> Self | None:
        return cls() if tracking.tensorboard else None

    def announcement(self, folder: Path) -> str:
        return f"tensorboard --logdir {shlex.quote(str(folder))}"

    def open(self, run: FollowedRun) -> TrackedRun:
        return BoardedRun(run)


class EventFile:
    """An event file that is written anew."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).unlink(missing_ok=True)
        self._writer = RecordWriter(str(folder / FILE))
        self._write(file_version="brain.Event:2")

    def add(self, *values: Any, step: int = 0) -> None:
        """Writes ``Summary.Value`` messages."""
        from tensorboardX.proto.summary_pb2 import Summary

        self._write(step=step, summary=Summary(value=values))

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _write(self, **fields: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write(Event(wall_time=time.time(), **fields).SerializeToString())


class BoardedTrial(TrackedTrial):
    """The event file of a trial, which is written from the first step again if the trial was interrupted."""

    def __init__(self, trial: FollowedTrial, folder: Path) -> None:
        self.events = EventFile(folder)
        self.events.add(_session_start(trial))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.events.add(*(_scalar(name, value) for name, value in values.items()), step=step)

    def flush(self) -> None:
        self.events.flush()

    def finish(self, record: Record | None) -> None:
        if record is not None:
            measured = flat_values.results(record).items()
            self.events.add(*(_scalar(RESULT + name, value) for name, value in measured), step=self.last_step)
            self.events.add(_text("record", _facts(record)), _session_end(record))
        self.events.close()


class BoardedRun(TrackedRun):
    """The folder ``tensorboard`` of a run."""

    def __init__(self, run: FollowedRun) -> None:
        self.run, self.folder = run, run.folder / TensorBoard.name

    def begin(self, trial: FollowedTrial) -> BoardedTrial:
        # A cell's name is part of file names, but the config may be somebody else's.
        cell = re.sub(r"[^\w.-]|^\.+", "-", trial.cell)
        return BoardedTrial(trial, self.folder / cell / trial.name)

    def summarize(self) -> None:
        """Writes the answer, the Pareto front, and which settings and results the plugin's table shows."""
        summary = RunSummary.read(self.run.folder)
        events = EventFile(self.folder)
        trials = [FollowedTrial.read(self.run, folder) for folder in results.trial_folders(self.run.folder)]
        events.add(_experiment(self.run, [flat_values.settings(trial) for trial in trials], summary))
        if summary.answer is not None:
            events.add(_text("answer", summary.answer))
        if summary.write_pareto_front(path := self.folder / "pareto.png"):
            events.add(_image("pareto", path.read_bytes()))
        events.close()


def _scalar(tag: str, value: float) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    return Summary.Value(tag=tag, simple_value=value)


def _text(tag: str, text: str) -> Any:
    from tensorboardX.summary import text as text_summary

    return text_summary(tag, text).value[0]


def _image(tag: str, png: bytes) -> Any:
    from tensorboardX.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", png[16:24])  # of the header, which is a PNG's first chunk
    image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)
    return Summary.Value(tag=tag, image=image)


def _facts(record: Record) -> str:
    rows = (f"| {name} | {_cell(value)} |" for name, value in flat_values.facts(record).items())
    return "\n".join(("| | |", "|---|---|", *rows))


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


def _session_start(trial: FollowedTrial) -> Any:
    from tensorboardX.proto.plugin_hparams_pb2 import SessionStartInfo

    start = SessionStartInfo(group_name=trial.name, start_time_secs=time.time())
    for name, value in flat_values.settings(trial).items():
        kind = next(kind for type_, kind in _VALUE_KINDS.items() if isinstance(value, type_))
        setattr(start.hparams[name], kind, value)
    return _of_plugin("session_start_info", session_start_info=start)


def _session_end(record: Record) -> Any:
    from tensorboardX.proto.api_pb2 import Status
    from tensorboardX.proto.plugin_hparams_pb2 import SessionEndInfo

    ended_well = record.status in ("done", "stopped")
    status = Status.Value("STATUS_SUCCESS" if ended_well else "STATUS_FAILURE")
    return _of_plugin("session_end_info", session_end_info=SessionEndInfo(status=status))


def _experiment(run: FollowedRun, trials: list[dict[str, Plain]], summary: RunSummary) -> Any:
    """What the plugin's table shows: the settings that differ between trials, and what is known of any trial."""
    from tensorboardX.proto.api_pb2 import Experiment, HParamInfo, MetricInfo, MetricName

    values = {name: [trial.get(name) for trial in trials] for trial in trials for name in trial}
    shown = [name for name, of in values.items() if name in ALWAYS_SHOWN or any(one != of[0] for one in of)]
    measured = dict.fromkeys(name for record in summary.run.records for name in flat_values.results(record))
    metrics = [MetricInfo(name=MetricName(tag=RESULT + name), display_name=name) for name in measured]
    experiment = Experiment(
        name=run.name,
        description=str(run.environment.get("question") or ""),
        time_created_secs=time.time(),
        hparam_infos=[HParamInfo(name=name, type=_type_of(values[name])) for name in shown],
        metric_infos=metrics,
    )
    return _of_plugin("experiment", experiment=experiment)


def _type_of(values: Iterable[Plain | None]) -> Any:
    from tensorboardX.proto.api_pb2 import DataType

    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return DataType.Value("DATA_TYPE_BOOL")
    return DataType.Value("DATA_TYPE_FLOAT64" if kinds <= {int, float} else "DATA_TYPE_STRING")


def _of_plugin(tag: str, **content: Any) -> Any:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData
    from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata

    data = SummaryMetadata.PluginData(
        plugin_name="hparams", content=HParamsPluginData(version=0, **content).SerializeToString()
    )
    return Summary.Value(tag=f"_hparams_/{tag}", metadata=SummaryMetadata(plugin_data=data))
