"""GPUs that a spec leaves out: as much of one as a trial needs where there are any; a resumed run keeps what it had.

The number of GPUs is the tests' own; everything else is real.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.cluster.packing import Machine
from sweeps.commands.run import Sweep
from sweeps.execution.run_folder import prepare
from sweeps.execution.run_options import RunOptions
from sweeps.planning.plan import Plan
from sweeps.spec.problems import SpecError
from sweeps.spec.spec import read
from tests.helpers.places import cluster_of
from tests.helpers.specs import SPEC, own_spec_folder, plan
from trainables.system import machine
from trainables.system.byte_sizes import GIB

Gpus = Callable[[int], None]


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own_spec_folder(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def machine_with(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    return lambda count: monkeypatch.setattr(machine, "gpu_memory_bytes", lambda: [24 * GIB] * count)


def gpus(planned: Plan) -> list[float | str]:
    return [cell.resources.gpus for cell in planned.cells]


def notes(planned: Plan) -> list[str]:
    return [note for note in planned.notes if "gpus is not given" in note]


def test_a_worker_takes_its_part_of_a_gpu_where_the_machine_has_some_and_the_plan_says_why(
    workdir: Path, machine_with: Gpus
) -> None:
    machine_with(2)
    planned = plan(workdir)
    assert planned.errors == ()
    assert gpus(planned) == ["auto", "auto"]
    assert notes(planned) == [
        "resources.gpus is not given: a worker takes the smallest share of a GPU that its trial fits in (auto), as "
        "this machine has 2 GPUs. To train on the CPU, give resources.gpus: 0"
    ]
    assert planned.resolved()["resources"]["gpus"] == "auto"
    assert [resources.gpus for resources in planned.resources] == ["auto"]


def test_a_worker_takes_none_where_the_machine_has_none(workdir: Path, machine_with: Gpus) -> None:
    machine_with(0)
    planned = plan(workdir)
    assert gpus(planned) == [0, 0]
    assert notes(planned) == [
        "resources.gpus is not given: a worker takes no GPU, as this machine has none that torch can use"
    ]
    assert planned.resolved()["resources"]["gpus"] == 0


@pytest.mark.parametrize(("given", "taken"), [("0", 0), ("2", 2), ("0.5", 0.5), ("auto", "auto")])
def test_what_the_spec_gives_stays(workdir: Path, machine_with: Gpus, given: str, taken: float | str) -> None:
    machine_with(2)
    planned = plan(workdir, SPEC, (f"resources.gpus={given}",))
    assert gpus(planned) == [taken, taken]
    assert notes(planned) == []


def test_an_entrys_gpus_are_its_own_and_other_resources_leave_them_open(
    workdir: Path, machine_with: Gpus
) -> None:
    machine_with(4)
    text = SPEC.replace("{kind: full}", "{kind: full, resources: {gpus: 0}}").replace(
        "{kind: lora,", "{kind: lora, resources: {workers: 2, cpus: 1},"
    )
    planned = plan(workdir, text)
    assert gpus(planned) == [0, "auto"]
    assert len(notes(planned)) == 1
    everywhere = text.replace("cpus: 1}", "cpus: 1, gpus: 2}")
    assert gpus(plan(workdir, everywhere)) == [0, 2]
    assert notes(plan(workdir, everywhere)) == []


def test_fp16_needs_no_more_than_a_machine_with_a_gpu(workdir: Path, machine_with: Gpus) -> None:
    machine_with(0)
    assert "train.precision" in [
        problem.path for problem in plan(workdir, SPEC, ("train.precision=fp16",)).errors
    ]
    machine_with(1)
    found = [str(problem) for problem in plan(workdir, SPEC, ("train.precision=fp16",), local=False).errors]
    assert found == []


def test_plan_shows_it(workdir: Path, machine_with: Gpus) -> None:
    machine_with(1)
    shown = CliRunner().invoke(app, ["plan", "spec.yaml"])
    assert "fits in (auto), as this machine has 1 GPU." in " ".join(shown.output.split())


# Resuming


def resumed(workdir: Path, *sets: str) -> Plan:
    """The plan with which ``run --resume`` continues the run in ``runs/tiny``."""
    options = RunOptions(str(workdir / "runs"), resume=True)
    sweep = Sweep.plan_spec(read(workdir / "spec.yaml", sets), options, lambda *_: [])  # type: ignore[arg-type]
    prepare(sweep.plan, sweep.location.folder, resume=True)
    return sweep.plan


def test_a_resumed_run_keeps_what_it_began_with(workdir: Path, machine_with: Gpus) -> None:
    machine_with(0)
    prepare(plan(workdir), workdir / "runs" / "tiny", resume=False)
    machine_with(2)
    for _ in range(2):  # the second session reads what the first one has written
        planned = resumed(workdir)
        assert gpus(planned) == [0, 0]
        assert notes(planned) == [
            "resources.gpus is not given: a worker takes no GPU, as this run began with that"
        ]
    with pytest.raises(SpecError, match="this run was started with 0, and it is 1 now"):
        resumed(workdir, "resources.gpus=1")


def test_a_run_on_gpus_is_not_continued_without_them(workdir: Path, machine_with: Gpus) -> None:
    machine_with(2)
    prepare(plan(workdir), workdir / "runs" / "tiny", resume=False)
    machine_with(0)
    assert gpus(resumed(workdir)) == ["auto", "auto"]


def test_a_run_that_began_with_a_whole_gpu_for_each_worker_keeps_it(
    workdir: Path, machine_with: Gpus
) -> None:
    machine_with(2)
    run = workdir / "runs" / "tiny"
    prepare(plan(workdir, SPEC, ("resources.gpus=1",)), run, resume=False)  # as an earlier version chose it
    assert gpus(resumed(workdir)) == [1, 1]


def test_a_run_of_an_earlier_version_goes_on_without_gpus(workdir: Path, machine_with: Gpus) -> None:
    """Earlier versions took none where none were given, and kept no note of it."""
    machine_with(0)
    run = workdir / "runs" / "tiny"
    prepare(plan(workdir), run, resume=False)
    environment = json.loads((run / "environment.json").read_text())
    del environment["plan"]["gpus"]
    (run / "environment.json").write_text(json.dumps(environment))
    machine_with(2)
    assert gpus(resumed(workdir)) == [0, 0]


# On a cluster


@pytest.mark.parametrize(("nodes", "taken"), [([0, 2, 1], "auto"), ([0, 0], 0)])
def test_on_a_cluster_its_own_gpus_count(
    workdir: Path,
    machine_with: Gpus,
    monkeypatch: pytest.MonkeyPatch,
    nodes: list[int],
    taken: float | str,
) -> None:
    machine_with(8 if taken == 0 else 0)  # of the driver's machine, on which no trial runs
    cluster_of(monkeypatch, [Machine(str(n), 4, gpus=count) for n, count in enumerate(nodes)])
    options = RunOptions(str(workdir / "runs"), "head:6379")
    sweep = Sweep.plan_spec(read(workdir / "spec.yaml"), options, lambda *_: [])  # type: ignore[arg-type]
    assert gpus(sweep.plan) == [taken, taken]
    assert any("as the cluster at head:6379 has" in note for note in sweep.plan.notes)
