"""A worker, a slot and the driver of a sweep on a cluster are killed one after the other. What else may go wrong there
is in ``test_faults.py``, which takes longer.
"""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.clusters import Cluster
from tests.helpers.faults import (
    FULL,
    all_steps,
    assert_complete,
    ended_at,
    resources_in_use,
    training,
)
from tests.helpers.sweep_runs import assert_learned_as_if_undisturbed, assert_proposed_as_if_undisturbed
from tests.helpers.sweeps import SAVED_EVERY, Command, Home, curve_points, finished, in_training, write_spec
from trainables import results

pytestmark = [pytest.mark.sweep, pytest.mark.timeout(1200)]


@dataclass
class Survivor:
    spec: Path
    run: Path
    commands: list[Command]
    before: dict[str, str | None]  # when the trials ended that were done when the driver was killed
    resources_in_use: dict[str, Any]  # of the cluster, once all was over


@pytest.fixture(scope="module")
def survivor(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Survivor]:
    folder = tmp_path_factory.mktemp("survivor")
    run = folder / "runs" / "tiny"
    # One at a time, so that what is killed is what trains, and that it all rests on what it takes up again.
    spec = write_spec(folder / "given", tiny_model, FULL.replace("cpus: 1", "cpus: 1, concurrent: 1"))
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        cluster = Cluster(folder, Home(folder / "home", Path(temporary)))
        with cluster.head() as head, cluster.node() as one, cluster.node() as other:

            def kill(command: Command, *titles: str) -> None:
                (trial, *_) = training(run, command)
                found = [p for machine in (head, one, other) for t in titles for p in machine.named(t)]
                count = len(curve_points(run, trial))
                found[0].kill()
                command.until(lambda: len(curve_points(run, trial)) > count + 1 or trial in finished(run))

            command = cluster.start("run", spec, "--output", run.parent)
            kill(command, "ray::RayTrainWorker")
            command.until(lambda: len(finished(run)) > 1)  # the base model, and that trial
            kill(
                command, "ray::Slot", "ray::ResourceTrainable"
            )  # as it is called at first, and when it is busy
            command.until(lambda: len(finished(run)) > 2 and in_training(run, command))
            command.signal(signal.SIGKILL)
            before = ended_at(run)
            again = cluster.start("run", spec, "--output", run.parent, "--resume")
            assert again.wait() == 0, again.stderr
            yield Survivor(spec, run, [command, again], before, resources_in_use(cluster))


def test_all_trials_come_to_their_end_each_once(survivor: Survivor) -> None:
    found = finished(survivor.run)
    assert sorted(record.cell for record in found.values()) == ["sft-base", *["sft-full"] * 3]
    assert {record.status for record in found.values()} == {"done"}
    assert len(survivor.before) == 3
    assert survivor.before.items() <= ended_at(survivor.run).items()


def test_killed_trials_resume_from_their_last_checkpoint(survivor: Survivor) -> None:
    trials = [folder.name for folder in results.trial_folders(survivor.run)]
    for trial in (trial for trial in trials if finished(survivor.run)[trial].role == "search"):
        steps = [step for step, _ in curve_points(survivor.run, trial)]
        assert all_steps(survivor.run, trial)
        assert {steps.count(step) for step in range(1, SAVED_EVERY)} == {1}


def test_nothing_is_held_and_no_process_stays(survivor: Survivor) -> None:
    assert survivor.resources_in_use == {"groups": 0, "nodes": 3, "busy": {}}
    assert [left for command in survivor.commands for left in command.surviving()] == []


def test_the_run_is_bit_for_bit_that_of_an_undisturbed_sweep(survivor: Survivor, tmp_path: Path) -> None:
    assert_complete(survivor.run, driver_was_killed=True)
    assert_proposed_as_if_undisturbed(survivor.run, survivor.spec, tmp_path / "proposed")
    for trial_id in finished(survivor.run):
        assert_learned_as_if_undisturbed(survivor.run, trial_id, tmp_path / "run")
