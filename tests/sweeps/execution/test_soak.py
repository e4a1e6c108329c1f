"""Two hundred trials on three nodes, with a training worker or a slot killed every twenty seconds."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers.clusters import Cluster, Machine
from tests.helpers.faults import cells, resources_in_use, study_results
from tests.helpers.sweeps import SPEC, Home, finished, write_spec

pytestmark = [pytest.mark.sweep, pytest.mark.slow]

TRIALS, EVERY_SECONDS = 100, 20.0  # of each of two cells
TEXT = (
    SPEC.replace("trials: 3", f"trials: {TRIALS}")
    .replace("{choice: [4, 8]}", "{int: [1, 8]}")
    .replace("steps: 100, batch_size: 2, save_steps: 20", "steps: 9, batch_size: 2, save_steps: 3")
    .replace("{cpus: 1, concurrent: 2}", "{cpus: 1}")
)
TITLES = ("ray::RayTrainWorker", "ray::Slot", "ray::ResourceTrainable")


class Killer(threading.Thread):
    """Kills one of the nodes' workers and slots, whichever comes, again and again."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        super().__init__(daemon=True)
        self.machines, self.killed, self.done = machines, Counter[str](), threading.Event()

    def run(self) -> None:
        draw = random.Random(0)
        while not self.done.wait(EVERY_SECONDS):
            found = [(t, p) for machine in self.machines for t in TITLES for p in machine.named(t)]
            if found:
                title, process = draw.choice(found)
                try:
                    process.kill()
                except psutil.Error:
                    continue
                self.killed["worker" if "Worker" in title else "slot"] += 1


def carry_out(folder: Path, spec: Path, disturbed: bool) -> tuple[Path, float, Counter[str]]:
    folder.mkdir()
    run = folder / "runs" / "tiny"
    with tempfile.TemporaryDirectory(prefix="pt-", dir="/tmp") as temporary:
        cluster = Cluster(folder, Home(folder / "home", Path(temporary)))
        with cluster.head() as head, cluster.node() as one, cluster.node() as two, cluster.node() as three:
            began, killer = time.monotonic(), Killer([head, one, two, three])
            command = cluster.start("run", spec, "--output", run.parent)
            if disturbed:
                killer.start()
            code = command.wait(5000)
            seconds = time.monotonic() - began
            killer.done.set()
            assert code == 0, command.stderr[-3000:]
            assert command.surviving() == []
            assert resources_in_use(cluster)["groups"] == 0
    return run, seconds, killer.killed


def table(run: Path) -> dict[str, tuple[Any, ...]]:
    """What came of each trial, but for where and how long."""
    return {
        trial_id: (record.cell, record.config, record.status, record.objective, record.quality, record.tokens)
        for trial_id, record in finished(run).items()
    }


@pytest.mark.timeout(7200)
def test_a_sweep_whose_parts_are_killed_all_the_time_comes_to_the_same_end(
    tmp_path: Path, tiny_model: Path
) -> None:
    # One for both: where its data are is in the records.
    spec = write_spec(tmp_path / "given", tiny_model, TEXT)
    peace, quiet, _ = carry_out(tmp_path / "peace", spec, disturbed=False)
    run, loud, killed = carry_out(tmp_path / "war", spec, disturbed=True)
    print(f"{len(table(run))} trials: {quiet:.0f} s in peace, {loud:.0f} s with {dict(killed)} killed")
    assert sum(killed.values()) > 10
    assert len(table(run)) == 2 * TRIALS + 1
    assert table(run) == table(peace)
    assert [study_results(run, cell) for cell in cells(run)] == [
        study_results(peace, cell) for cell in cells(peace)
    ]
