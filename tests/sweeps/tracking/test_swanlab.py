"""SwanLab: the offline runs of a sweep, read back by SwanLab's own reader."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sweeps.tracking.trackers.swanlab import SwanLab
from tests.helpers import followed_runs
from tests.helpers.followed_runs import ANSWER, FAILED, SWEEP_ID, WELL, add_points, follow

pytest.importorskip("swanlab", reason="swanlab is not installed; `make trackers` runs these tests")
OFFLINE = SwanLab(project="paretune")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return followed_runs.write(tmp_path / "run")


@dataclass
class OfflineRun:
    """The contents of an offline run: its first and its last record, values by key and step, and its config."""

    start: Any = None
    finish: Any = None
    values: dict[str, dict[int, float]] = field(default_factory=dict)
    media: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)


def runs_of(run: Path) -> dict[str, OfflineRun]:
    found = {}
    for path in sorted((run / "swanlab").glob("run-*/*.swanlab")):
        read = _read(path)
        assert read.start.id not in found
        found[read.start.id] = read
    return found


def _read(path: Path) -> OfflineRun:
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record
    from swanlab.sdk.internal.core_python.store import DataStoreReader

    reader, run = DataStoreReader(), OfflineRun()
    reader.open(str(path))
    while (content := reader.scan()) is not None:
        record = Record()
        record.ParseFromString(content)
        kind = record.WhichOneof("record_type")
        if kind in ("start", "finish"):
            setattr(run, kind, getattr(record, kind))
        elif kind == "scalar":
            run.values.setdefault(record.scalar.key, {})[record.scalar.step] = record.scalar.value.number
        elif kind == "media":
            name = record.media.value.items[0].filename
            run.media[record.media.key] = str(next(path.parent.rglob(name)))
    config = YAML(typ="safe").load((path.parent / "files" / "config.yaml").read_text()) or {}
    run.config = {name: item["value"] for name, item in config.items()}
    return run


def test_each_trial_is_an_offline_run_and_the_answer_is_one(run: Path) -> None:
    follow(run, OFFLINE)
    found = runs_of(run)
    well, failed, summary = (found[f"{SWEEP_ID}-{name}"] for name in (WELL, FAILED, "summary"))
    assert len(found) == 4
    assert (well.start.project, well.start.group, well.start.job_type) == ("paretune", "methods", "sft-lora")
    assert well.values["train_loss"] == {1: 1.5, 2: 2.5, 3: 3.5}
    assert well.values["objective"] == {1: -1.0, 2: -2.0, 3: -3.0}
    assert well.values["quality"] == {3: pytest.approx(0.9)}
    assert (well.config["method.rank"], well.config["status"]) == (8, "done")
    assert (well.finish.state, failed.finish.state) == (well.finish.state, well.finish.state + 1)
    assert failed.config["error"] == "Something | broke."
    assert Path(summary.media["answer"]).read_text() == ANSWER
    assert Path(summary.media["pareto"]).read_bytes()[:4] == b"\x89PNG"


def test_an_interrupted_trial_is_recorded_once_it_has_ended(run: Path) -> None:
    again = followed_runs.interrupt(run)
    follow(run, OFFLINE, summary=False)
    assert len(runs_of(run)) == 2
    followed_runs.resume(run, again)
    add_points(run / "trials" / again, 4)
    follow(run, OFFLINE)
    assert list(runs_of(run)[f"{SWEEP_ID}-{again}"].values["train_loss"]) == [1, 2, 3, 4]


def test_what_it_says_names_the_command_that_sends_the_runs(tmp_path: Path) -> None:
    assert OFFLINE.announcement(tmp_path / "a run") == f"offline: swanlab sync '{tmp_path}/a run'/run-*"
