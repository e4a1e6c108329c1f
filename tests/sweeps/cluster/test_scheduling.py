"""Trials on clusters that change under them: sizes side by side, nodes that come, nodes that are taken down."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.clusters import Cluster
from tests.helpers.faults import FULL, assert_same_results, training, undisturbed_run
from tests.helpers.sweeps import SPEC, STEPS, Home, curve_points, finished, write_spec
from trainables.results import Record

pytestmark = [pytest.mark.sweep, pytest.mark.slow]

SIZES = SPEC.replace("resources: {cpus: 1, concurrent: 2}", "resources: {cpus: 1, gpus: 0.5}").replace(
    "{kind: full}", "{kind: full, resources: {gpus: 1}}"
)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that has no node yet."""
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        yield Cluster(tmp_path, Home(tmp_path / "home", Path(temporary)))


@pytest.fixture
def cluster(alone: Cluster) -> Iterator[Cluster]:
    with alone.head():
        yield alone


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The run of the same spec, on this machine and in peace."""
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        return undisturbed_run(tmp_path_factory.mktemp("peace"), Path(temporary), tiny_model)


def overlap(one: Record, other: Record) -> bool:
    assert one.started_at
    assert other.started_at
    return max(one.started_at, other.started_at) < min(one.ended_at or "", other.ended_at or "")


def test_trials_of_different_size_share_a_cluster(cluster: Cluster, tmp_path: Path, tiny_model: Path) -> None:
    spec = write_spec(tmp_path, tiny_model, SIZES)
    with cluster.node(cpus=2, gpus=1):
        command = cluster.paretune("run", spec, "--output", tmp_path / "runs", timeout=400)
    assert command.process.returncode == 0, command.stderr
    found = list(finished(tmp_path / "runs" / "tiny").values())
    assert {record.status for record in found} == {"done"}
    assert len(found) == 7
    whole = [record for record in found if record.cell == "sft-full"]
    for record in whole:
        assert not [other for other in found if other is not record and overlap(record, other)]
    halves = [record for record in found if record.cell != "sft-full"]
    assert any(overlap(one, other) for one in halves for other in halves if one is not other)


def test_a_node_that_joins_is_used_within_half_a_minute(
    cluster: Cluster, tmp_path: Path, tiny_model: Path
) -> None:
    run = tmp_path / "runs" / "tiny"
    spec = write_spec(tmp_path, tiny_model, FULL.replace("trials: 3", "trials: 8"))
    with cluster.node():
        command = cluster.start("run", spec, "--output", run.parent)
        training(run, command)
        with cluster.node() as late:
            joined = time.monotonic()
            command.until(lambda: unfinished(run) == 2, timeout=30)
            given = time.monotonic() - joined
            command.until(lambda: late.named("ray::RayTrainWorker"))
            placed = time.monotonic() - joined
            training(run, command, count=2)
            trained = time.monotonic() - joined
            print(
                f"given a trial after {given:.1f} s, a worker after {placed:.1f} s, in training after {trained:.1f} s"
            )
            assert command.wait(400) == 0, command.stderr


def unfinished(run: Path) -> int:
    return len(list((run / "trials").glob("*/config.json"))) - len(finished(run))


def test_what_runs_on_a_node_that_is_to_be_taken_down_saves_itself_and_moves(
    cluster: Cluster, tmp_path: Path, tiny_model: Path, undisturbed: Path
) -> None:
    run = tmp_path / "runs" / "tiny"
    spec = write_spec(tmp_path, tiny_model, FULL)
    with cluster.node() as one:
        command = cluster.start("run", spec, "--output", run.parent)
        (moved, *_) = training(run, command)
        with cluster.node() as other:
            cluster.drain(one, seconds=45)
            reported = time.monotonic()
            command.until(lambda: not one.named("ray::RayTrainWorker"), timeout=40)
            print(f"left after {time.monotonic() - reported:.1f} s")
            command.until(lambda: other.named("ray::RayTrainWorker"), timeout=60)
            assert command.wait(400) == 0, command.stderr
            print(f"all done after {time.monotonic() - reported:.1f} s")
    assert "leaves a node that will be taken down" in (run / "sweep.log").read_text()
    steps = [step for step, _ in curve_points(run, moved)]
    assert steps == list(range(1, STEPS + 1))  # it was saved where it stood: no step was taken twice
    assert_same_results(run, undisturbed)


def test_a_slot_moves_away_from_a_node_that_is_to_be_taken_down(
    alone: Cluster, tmp_path: Path, tiny_model: Path, undisturbed: Path
) -> None:
    run = tmp_path / "runs" / "tiny"
    spec = write_spec(tmp_path, tiny_model, FULL)
    with alone.head(slots=False), alone.node(slots=False), alone.node(cpus=0) as old:
        command = alone.start("run", spec, "--output", run.parent)
        (moved, *_) = training(run, command)
        there = [*old.named("ray::Slot"), *old.named("ray::ResourceTrainable")]
        assert there
        with alone.node(cpus=0):
            alone.drain(old, seconds=60)
            command.until(lambda: not any(process.is_running() for process in there), timeout=50)
            assert command.wait(400) == 0, command.stderr
    assert [step for step, _ in curve_points(run, moved)] == list(range(1, STEPS + 1))
    assert_same_results(run, undisturbed)
