"""What goes wrong on real machines, done to real sweeps: nothing computed is lost, and each comes to its end.

After each, the run is the one that is made in peace: the same trials, each run once, the same numbers bit for bit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.helpers.clusters import Cluster, Machine
from tests.helpers.faults import (
    FULL,
    all_steps,
    assert_same_results,
    ended_at,
    resources_in_use,
    training,
    undisturbed_run,
)
from tests.helpers.sweeps import (
    SAVED_EVERY,
    Command,
    Home,
    curve_points,
    finished,
    in_training,
    start,
    write_spec,
)
from trainables import results
from trainables.training.checkpoints import is_complete

pytestmark = [pytest.mark.sweep, pytest.mark.slow]


@pytest.fixture
def temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def peace(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        return undisturbed_run(tmp_path_factory.mktemp("peace"), Path(temporary), tiny_model)


@pytest.fixture
def cluster(tmp_path: Path, temporary: Path) -> Cluster:
    return Cluster(tmp_path, Home(tmp_path / "home", temporary))


@pytest.fixture
def spec(tmp_path: Path, tiny_model: Path) -> Path:
    # One at a time: what is killed is what trains.
    return write_spec(tmp_path / "given", tiny_model, FULL.replace("cpus: 1", "cpus: 1, concurrent: 1"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "tiny"


SLOT = "ray::Slot|ray::ResourceTrainable"  # as it is called while it starts, and while it trains


def having(title: str, *machines: Machine) -> Machine:
    """The node that a process of this title runs on."""
    return next(machine for machine in machines if any(map(machine.named, title.split("|"))))


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long it took until things were right again."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s")


def go_on(run: Path, command: Command) -> None:
    """Waits until all trials that had been begun are past where they were."""
    begun = {folder.name for folder in results.trial_folders(run)} - finished(run).keys()
    was = {
        trial: len(curve_points(run, trial))
        for trial in begun
        if (run / "trials" / trial / "curve.jsonl").exists()
    }
    for trial, count in was.items():
        command.until(
            lambda trial=trial, count=count: len(curve_points(run, trial)) > count or trial in finished(run),
            300,
        )


# Processes


@pytest.mark.parametrize("title", ["ray::RayTrainWorker", SLOT])
def test_a_process_of_a_node_is_killed(
    cluster: Cluster, spec: Path, run: Path, peace: Path, title: str
) -> None:
    with cluster.head() as head, cluster.node() as one, cluster.node() as other:
        command = cluster.start("run", spec, "--output", run.parent)
        training(run, command)
        found = [
            p for name in title.split("|") for machine in (one, other, head) for p in machine.named(name)
        ]
        found[0].kill()
        with timed(f"{title} killed, its trial continues"):
            go_on(run, command)
        assert command.wait(500) == 0, command.stderr
        assert resources_in_use(cluster) == {"groups": 0, "nodes": 3, "busy": {}}
    assert_same_results(run, peace)


def test_the_driver_is_killed(cluster: Cluster, spec: Path, run: Path, peace: Path) -> None:
    with cluster.head(), cluster.node(), cluster.node():
        command = cluster.start("run", spec, "--output", run.parent)
        command.until(lambda: finished(run) and in_training(run, command), timeout=400)
        command.signal(signal.SIGKILL)
        before = ended_at(run)
        again = cluster.start("run", spec, "--output", run.parent, "--resume")
        with timed("driver killed, the next one trains"):
            training(run, again)
        assert again.wait(500) == 0, again.stderr
        assert before.items() <= ended_at(run).items()
        assert resources_in_use(cluster) == {"groups": 0, "nodes": 3, "busy": {}}
    assert_same_results(run, peace)


@pytest.mark.parametrize("title", ["ray::RayTrainWorker", SLOT])
def test_a_node_is_lost(cluster: Cluster, spec: Path, run: Path, peace: Path, title: str) -> None:
    # Slots are on nodes, as where the head has none.
    with cluster.head(slots=False), cluster.node() as one, cluster.node() as other:
        command = cluster.start("run", spec, "--output", run.parent)
        training(run, command)
        having(title, one, other).kill()
        with timed("a node lost, its trial continues"):
            go_on(run, command)
        assert command.wait(500) == 0, command.stderr
        assert resources_in_use(cluster)["groups"] == 0
    assert_same_results(run, peace)


def test_the_only_node_is_lost_and_another_comes(
    cluster: Cluster, spec: Path, run: Path, peace: Path
) -> None:
    with cluster.head():
        with cluster.node() as only:
            command = cluster.start("run", spec, "--output", run.parent)
            training(run, command)
            only.kill()
        time.sleep(5)
        assert command.process.poll() is None
        with cluster.node(), timed("the only node lost and another there, its trial continues"):
            go_on(run, command)
            assert command.wait(500) == 0, command.stderr
    assert_same_results(run, peace)


def test_the_head_is_lost_and_a_new_cluster_resumes_the_run(
    cluster: Cluster, tmp_path: Path, spec: Path, run: Path, peace: Path
) -> None:
    with cluster.head() as head, cluster.node():
        command = cluster.start("run", spec, "--output", run.parent)
        command.until(lambda: finished(run) and in_training(run, command), timeout=400)
        before = ended_at(run)
        head.kill()
        with timed("head lost, the driver has ended"):
            assert command.wait(200) != 0
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        new = Cluster(tmp_path, Home(tmp_path / "home-2", Path(temporary)))
        with new.head(), new.node():
            again = new.start("run", spec, "--output", run.parent, "--resume")
            with timed("a new cluster trains"):
                training(run, again)
            assert again.wait(500) == 0, again.stderr
    assert before.items() <= ended_at(run).items()
    assert command.surviving() == []
    assert_same_results(run, peace)


def test_a_worker_that_hangs_is_killed_and_its_trial_resumes(
    tmp_path: Path, temporary: Path, tiny_model: Path, run: Path, peace: Path
) -> None:
    text = FULL.replace("cpus: 1", "cpus: 1, concurrent: 1, stall_seconds: 6")
    given = write_spec(tmp_path / "given", tiny_model, text)
    command = start(Home(tmp_path / "home", temporary), "run", given, "--output", run.parent)
    (stuck, *_) = training(run, command)
    (worker,) = command.named("ray::RayTrainWorker")
    worker.send_signal(signal.SIGSTOP)  # it does nothing more, and doesn't die either
    with timed("a worker hangs, its trial continues"):
        go_on(run, command)
    assert command.wait(300) == 0, command.stderr
    assert command.surviving() == []
    assert "has given no sign of life for " in (run / "sweep.log").read_text()
    assert all_steps(run, stuck)
    assert_same_results(run, peace)


# Storage


@pytest.fixture
def small_disk(run: Path) -> Iterator[Path]:
    """A disk for runs that can be filled."""
    run.parent.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(run.parent)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk of its own can't be mounted here")
    yield run.parent
    subprocess.run(["umount", "--lazy", str(run.parent)], check=True)


def fill(disk: Path) -> Path:
    """Leaves no byte."""
    path = disk / "fill"
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return path


@pytest.mark.parametrize("seconds", [20, 60])
def test_the_disk_is_full_for_a_while(
    tmp_path: Path, temporary: Path, spec: Path, run: Path, peace: Path, small_disk: Path, seconds: int
) -> None:
    command = start(Home(tmp_path / "home", temporary), "run", spec, "--output", run.parent)
    training(run, command)
    filled = fill(small_disk)
    free = threading.Timer(seconds, filled.unlink)
    free.start()
    try:
        assert command.wait(500) == 0, command.stderr
    finally:
        free.cancel()
    assert not filled.exists()
    assert_same_results(run, peace)


def test_a_disk_that_stays_full_loses_nothing(
    tmp_path: Path, temporary: Path, spec: Path, run: Path, peace: Path, small_disk: Path
) -> None:
    home = Home(tmp_path / "home", temporary)
    command = start(home, "run", spec, "--output", run.parent)
    command.until(lambda: finished(run) and in_training(run, command), timeout=400)
    filled = fill(small_disk)
    time.sleep(10)
    assert command.signal(signal.SIGTERM) < 30  # somebody ends it
    assert command.surviving() == []
    before = ended_at(run)
    filled.unlink()
    again = start(home, "run", spec, "--output", run.parent, "--resume")
    assert again.wait(500) == 0, again.stderr
    assert before.items() <= ended_at(run).items()
    assert_same_results(run, peace)


@pytest.mark.parametrize("what", ["a checkpoint", "a record", "a journal"])
def test_what_was_cut_short_loses_nothing(
    tmp_path: Path, temporary: Path, spec: Path, run: Path, peace: Path, what: str
) -> None:
    home = Home(tmp_path / "home", temporary)
    command = start(home, "run", spec, "--output", run.parent)

    def two_checkpoints() -> list[Path]:
        found = [run / "trials" / trial for trial in in_training(run, command)]
        saved = [trial for trial in found if is_complete(trial / f"checkpoint-{2 * SAVED_EVERY}")]
        return saved if len(finished(run)) >= 2 else []

    (trial, *_) = command.until(two_checkpoints, timeout=400)
    command.signal(signal.SIGKILL)
    command.surviving()
    cut = {
        "a checkpoint": max(trial.glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
        / "optimizer.pt",
        "a record": next(iter((run / "trials").glob("*/record.json"))),
        "a journal": run / "study-sft-full.journal",
    }[what]
    os.truncate(cut, cut.stat().st_size - 20)
    again = start(home, "run", spec, "--output", run.parent, "--resume")
    assert again.wait(500) == 0, again.stderr
    assert all_steps(run, trial.name)
    assert_same_results(run, peace)


# What trials and services do


def test_a_trial_whose_loss_is_nan_is_a_failed_row_and_the_others_continue(
    tmp_path: Path, temporary: Path, tiny_model: Path, run: Path
) -> None:
    text = FULL.replace("{log: [1.0e-4, 5.0e-3]}", "{choice: [1.0e-3, 1.0e+30, 2.0e-3]}")
    given = write_spec(tmp_path / "given", tiny_model, text)
    command = start(Home(tmp_path / "home", temporary), "run", given, "--output", run.parent)
    assert command.wait(400) == 1, command.stderr
    found = {r.config["train"]["learning_rate"]: r for r in finished(run).values() if r.role == "search"}
    assert {rate: record.status for rate, record in found.items()} == {
        1e-3: "done",
        2e-3: "done",
        1e30: "failed",
    }
    assert "is nan at step" in (found[1e30].error or "") or "is inf at step" in (found[1e30].error or "")
    assert (
        "is nan" in (run / "report" / "summary.md").read_text()
        or "is inf" in (run / "report" / "summary.md").read_text()
    )


def test_the_wandb_process_dies_and_the_sweep_continues(
    tmp_path: Path, temporary: Path, tiny_model: Path, run: Path, peace: Path
) -> None:
    given = write_spec(tmp_path / "given", tiny_model, FULL.replace("wandb: off", "wandb: offline"))
    command = start(Home(tmp_path / "home", temporary), "run", given, "--output", run.parent)
    training(run, command)
    senders = command.named("sweeps.tracking.follower_process")
    assert senders
    for sender in senders:
        for process in (*psutil.Process(sender.pid).children(recursive=True), sender):
            process.kill()
    assert command.wait(400) == 0, command.stderr
    assert command.stderr.count("W&B") == 2  # that it is offline, and that it ended
    assert_same_results(run, peace)


def test_wandb_cannot_be_reached_and_the_sweep_continues(
    tmp_path: Path, temporary: Path, tiny_model: Path, run: Path, peace: Path
) -> None:
    given = write_spec(tmp_path / "given", tiny_model, FULL.replace("wandb: off", "wandb: auto"))
    down = {"WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": "http://127.0.0.1:9"}
    command = start(Home(tmp_path / "home", temporary), "run", given, "--output", run.parent, **down)
    assert command.wait(400) == 0, command.stderr
    assert "W&B" in command.stderr
    assert (
        len(list((run / "wandb").glob("offline-run-*"))) == 5
    )  # to be sent later: four trials and the summary
    assert_same_results(run, peace)
