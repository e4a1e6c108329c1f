"""For tests of faults: a sweep on a cluster of several nodes, and the same sweep without faults to compare with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.helpers.clusters import Cluster
from tests.helpers.sweep_runs import study
from tests.helpers.sweeps import (
    METHODS,
    SPEC,
    STEPS,
    Command,
    Home,
    curve_points,
    finished,
    in_training,
    start,
    write_spec,
)

FULL = SPEC.replace("cpus: 1, concurrent: 2", "cpus: 1").replace(METHODS, "methods: [{kind: full}]\n")
HELD = """\
import json, ray
from ray.util.state import list_actors
ray.init(log_to_driver=False)
groups = [group for group in ray.util.placement_group_table().values() if group["state"] != "REMOVED"]
alive = [n for n in ray.nodes() if n["Alive"]]
total, free = ray.cluster_resources(), ray.available_resources()
busy = {name: total[name] - free.get(name, 0) for name in ("CPU", "trial_driver") if name in total}
print(json.dumps({"groups": len(groups), "nodes": len(alive), "busy": {k: v for k, v in busy.items() if v}}))
"""


def undisturbed_run(folder: Path, temporary: Path, model: Path, text: str = FULL) -> Path:
    """The run of a spec on this machine without any fault."""
    command = start(
        Home(folder / "home", temporary), "run", write_spec(folder, model, text), "--output", folder / "runs"
    )
    assert command.wait(600) == 0, command.stderr
    return folder / "runs" / "tiny"


def training(run: Path, command: Command, count: int = 1) -> list[str]:
    """Waits until ``count`` trials are in training, past their first checkpoint."""
    return command.until(
        lambda: found if len(found := in_training(run, command)) >= count else None, timeout=400
    )


def assert_same_results(run: Path, peace: Path) -> None:
    """Asserts that the results are bit for bit those of a run without faults, and that studies know all trials."""
    expected, found = finished(peace), finished(run)
    assert expected.keys() == found.keys()
    for trial_id, record in expected.items():
        assert (found[trial_id].status, found[trial_id].quality) == (record.status, record.quality)
        for name in ("train_loss", "grad_norm", "objective") if record.role == "search" else ():
            assert dict(curve_points(run, trial_id, name)) == dict(curve_points(peace, trial_id, name))
    assert [study_results(run, cell) for cell in cells(run)] == [
        study_results(peace, cell) for cell in cells(peace)
    ]
    assert_complete(run)


def assert_complete(run: Path, driver_was_killed: bool = False) -> None:
    """Asserts that a run's folder has its report, and nothing unfinished: of a driver that was killed, the file that it
    wrote just then may be left, which is hidden.
    """
    unfinished = [path for path in run.rglob("*.tmp") if "wandb" not in path.parts]
    if driver_was_killed:
        left = [path for path in unfinished if path.parent == run and path.name.startswith(".")]
        assert len(left) <= 1
        unfinished = [path for path in unfinished if path not in left]
    assert not unfinished
    assert not (run / ".ray").exists()
    assert (run / "report" / "index.html").exists()


def cells(run: Path) -> list[str]:
    return sorted(path.stem.removeprefix("study-") for path in run.glob("study-*.journal"))


def study_results(run: Path, cell: str) -> list[tuple[Any, ...]]:
    """What a cell's study knows about its trials."""
    trials = study(run, cell).trials
    return [(t.user_attrs["trial_id"], t.state.name, t.value, t.intermediate_values) for t in trials]


def ended_at(run: Path) -> dict[str, str | None]:
    return {trial_id: record.ended_at for trial_id, record in finished(run).items()}


def resources_in_use(cluster: Cluster) -> dict[str, Any]:
    """The resources and placement groups of a cluster that are in use, after a sweep has ended."""
    environment = cluster.home.environment(**cluster.access, RAY_ADDRESS=cluster.address)
    done = subprocess.run(
        [sys.executable, "-c", HELD], env=environment, check=True, timeout=120, capture_output=True, text=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def all_steps(run: Path, trial_id: str) -> bool:
    return {step for step, _ in curve_points(run, trial_id)} == set(range(1, STEPS + 1))
