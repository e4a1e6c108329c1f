"""Trials at a time and cores of a worker that a spec leaves out: what fits on the machines that there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.cluster import node_resources
from sweeps.cluster.packing import Machine
from sweeps.commands.run import Sweep
from sweeps.execution.run_folder import prepare
from sweeps.execution.run_options import RunOptions
from sweeps.planning.plan import Plan
from sweeps.planning.resources import default_trials
from sweeps.spec.spec import read, shipped_specs
from tests.helpers.paths import ROOT
from tests.helpers.places import cluster_of, place
from tests.helpers.specs import SPEC, plan, spec_folder
from trainables.system import machine
from trainables.system.byte_sizes import GIB


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return spec_folder(tmp_path)


def here(cores: int, memory: float | None = None, gpus: int = 0, gpu_gib: int = 24) -> Machine:
    bytes_ = None if memory is None else int(memory * GIB)
    return Machine("here", cores, gpus, bytes_, gpu_gib * GIB if gpus else None)


def chosen(planned: Plan) -> tuple[int | None, set[float]]:
    """Trials at a time, and the cores of a worker in each cell."""
    return planned.spec.resources.concurrent, {cell.resources.cpus for cell in planned.cells}


def notes(planned: Plan) -> list[str]:
    return [note.partition(". --resume")[0] for note in planned.notes if "is not given: " in note][1:]


@pytest.mark.parametrize(
    ("cores", "concurrent", "cpus"),
    [(1, 1, 1), (2, 2, 1), (5, 5, 1), (6, 6, 1), (12, 6, 2), (64, 6, 10)],
)
def test_each_trial_gets_a_core_and_further_cores_are_divided_among_them(
    folder: Path, cores: int, concurrent: int, cpus: int
) -> None:
    """Two cells of three trials: no more than six can run at a time."""
    assert chosen(plan(folder, place=place(here(cores)))) == (concurrent, {cpus})


def test_the_plan_says_what_it_chose_and_why(folder: Path) -> None:
    assert notes(plan(folder, place=place(here(4)))) == [
        "resources.concurrent is not given: 4 trials run at a time, as this machine has 4 cores",
        "resources.cpus is not given: a worker takes 1 core, as this machine has 4 cores for 4 trials at a time",
    ]
    assert notes(plan(folder, place=place(here(16)))) == [
        "resources.concurrent is not given: 6 trials run at a time, as the plan has no more that could",
        "resources.cpus is not given: a worker takes 2 cores, as this machine has 16 cores for 6 trials at a time",
    ]


def with_peaks(planned: Plan, *gib: float) -> list[Any]:
    """The plan's cells, with these predicted peaks."""

    class Memory:
        def __init__(self, peak: float) -> None:
            self.peak_bytes, self.workers = int(peak * GIB), 1

    class CellMemory:
        def __init__(self, peak: float) -> None:
            self.smallest = self.largest = Memory(peak)

    return [
        replace(cell, predicted=CellMemory(peak), resources=read(planned.spec.source.file).resources)
        for cell, peak in zip(planned.cells, gib, strict=True)
    ]


@pytest.mark.parametrize(("memory", "concurrent", "cpus"), [(72, 6, 2), (24, 2, 6), (12, 1, 12), (2, 1, 12)])
def test_trials_at_a_time_fit_in_the_free_memory(
    folder: Path, memory: int, concurrent: int, cpus: int
) -> None:
    planned = plan(folder)
    cells = with_peaks(planned, 0.3, 9.0)  # 9 GiB and the processes' own reserve 12
    found = default_trials.choose(cells, read(folder / "spec.yaml").resources, place(here(12, memory)))
    assert (found.concurrent, found.cpus) == (concurrent, cpus)
    if memory == 24:
        assert (
            "2 trials run at a time, as many as fit in the 24.0 GiB that are free (12 GiB for one of sft-lora)"
            in found.notes[0]
        )


def test_trials_share_gpus_and_their_cores(folder: Path) -> None:
    planned = plan(folder, place=place(here(16, gpus=2)))
    cells = [
        replace(each, resources=each.resources.model_copy(update={"gpus": "auto"}))
        for each in with_peaks(planned, 5.0, 10.0)
    ]
    found = default_trials.choose(
        cells, read(folder / "spec.yaml").resources, place(here(16, 200, gpus=2, gpu_gib=24))
    )
    assert (found.concurrent, found.cpus) == (4, 4)  # two trials of 10 GiB on each GPU
    assert "as many as fit on the GPUs of this machine" in found.notes[0]


def test_what_the_spec_gives_stays_and_the_rest_follows_it(folder: Path) -> None:
    eight = place(here(8))
    one_by_one = plan(folder, SPEC, ("resources.concurrent=1",), place=eight)
    assert chosen(one_by_one) == (1, {8})
    assert len(notes(one_by_one)) == 1
    wide = plan(folder, SPEC, ("resources.cpus=4",), place=eight)
    assert chosen(wide) == (2, {4})
    assert notes(wide) == [
        "resources.concurrent is not given: 2 trials run at a time, as this machine has 8 cores (1 x (4 CPUs) for one "
        "of sft-full)"
    ]
    both = plan(folder, SPEC, ("resources.cpus=2", "resources.concurrent=3"), place=eight)
    assert chosen(both) == (3, {2})
    assert notes(both) == []
    asked_for_all = plan(folder, SPEC, ("resources.concurrent=null", "resources.cpus=1"), place=eight)
    assert chosen(asked_for_all) == (None, {1})


def test_workers_of_a_trial_share_its_cores_and_an_entry_may_have_its_own(folder: Path) -> None:
    text = SPEC.replace("{kind: full}", "{kind: full, resources: {cpus: 3}}")
    mixed = plan(folder, text, place=place(here(8)))
    assert {cell.name: cell.resources.cpus for cell in mixed.cells} == {"sft-full": 3, "sft-lora": 4}
    assert mixed.spec.resources.concurrent == 2
    pairs = plan(folder, SPEC, ("resources.workers=2", "resources.concurrent=2"), place=place(here(8)))
    assert chosen(pairs) == (2, {2})


def test_results_can_steer_a_search_because_its_trials_do_not_all_start_at_once(folder: Path) -> None:
    many = place(here(100))
    text = SPEC.replace("trials: 3", "trials: 20").replace("{choice: [4, 8]}", "8")
    steered = plan(folder, text, place=many)
    assert chosen(steered) == (10, {10})  # five of each cell
    assert "of a cell at most 5, so that results can steer the others" in notes(steered)[0]
    assert chosen(plan(folder, text, ("search.sampler=random",), place=many)) == (40, {2})


def test_cells_that_wait_for_others_do_not_count_beside_them(folder: Path) -> None:
    text = SPEC.replace(
        "[{kind: sft}]", "[{kind: sft, name: first}, {kind: sft, name: second, model: {from: first}}]"
    )
    planned = plan(folder, text, place=place(here(12)))
    assert len(planned.cells) == 4
    assert chosen(planned) == (6, {2})


def test_every_shipped_spec_leaves_resources_to_the_machine() -> None:
    for name in shipped_specs():
        assert "resources" not in read(name).source.tree, name
    assert not any(
        "resources:" in file.read_text() for file in (ROOT / "reports" / "example").rglob("*.yaml")
    )


# Resuming


def started(folder: Path, monkeypatch: pytest.MonkeyPatch, cores: int) -> Path:
    """A run that began on a machine with so many cores; the machine has 4 from now on."""
    monkeypatch.setenv("PARETUNE_HOME", str(folder / "home"))
    run = folder / "runs" / "tiny"
    prepare(plan(folder, place=place(here(cores))), run, resume=False)
    monkeypatch.setattr(node_resources, "this_machine", lambda: here(4))
    monkeypatch.setattr(machine, "cpu_cores", lambda: 4)
    return run


def resumed(folder: Path, *sets: str) -> Plan:
    options = RunOptions(str(folder / "runs"), resume=True)
    sweep = Sweep.plan_spec(read(folder / "spec.yaml", sets), options, lambda *_: [])  # type: ignore[arg-type]
    prepare(sweep.plan, sweep.location.folder, resume=True)
    return sweep.plan


def test_a_resumed_run_keeps_what_was_chosen_for_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = started(folder, monkeypatch, cores=2)
    kept = json.loads((run / "environment.json").read_text())["plan"]
    assert (kept["concurrent"], kept["cpus"]) == (2, 1)
    for _ in range(2):  # the second session reads what the first one has written
        planned = resumed(folder)
        assert chosen(planned) == (2, {1})
        assert notes(planned) == [
            "resources.concurrent is not given: 2 trials run at a time, as this run began with that",
            "resources.cpus is not given: a worker takes 1 core, as this run began with that",
        ]
    assert chosen(resumed(folder, "resources.concurrent=3")) == (3, {1})


def test_a_resumed_run_takes_the_cores_that_a_smaller_machine_has(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(folder, monkeypatch, cores=64)
    planned = resumed(folder)
    assert chosen(planned) == (6, {4})  # began with 10
    assert "this machine has 4, which are all taken: last digits of results may differ" in notes(planned)[1]
    assert json.loads((run / "environment.json").read_text())["plan"]["cpus"] == 10


def test_a_run_of_an_earlier_version_goes_on_with_one_core_and_no_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(folder, monkeypatch, cores=1)
    environment = json.loads((run / "environment.json").read_text())
    del environment["plan"]["cpus"], environment["plan"]["concurrent"]
    (run / "environment.json").write_text(json.dumps(environment))
    assert chosen(resumed(folder)) == (None, {1})


def test_what_is_chosen_is_no_part_of_a_trials_id(folder: Path) -> None:
    ids = [
        [cell.first().trial_id() for cell in plan(folder, place=place(here(cores))).cells]
        for cores in (1, 64)
    ]
    assert ids[0] == ids[1]


# On a cluster


@pytest.mark.parametrize(
    ("nodes", "cpus", "reason"),
    [
        ([here(16)], 2, "the cluster at head:6379 has 16 cores for 6 trials at a time"),
        ([here(16), here(16)], 5, "the smallest of 2 nodes has 16 cores for its part of the trials"),
        ([here(4), here(64)], 1, "the smallest of 2 nodes has 4 cores for its part of the trials"),
    ],
)
def test_on_a_cluster_its_nodes_decide_how_many_cores_a_worker_takes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, nodes: list[Machine], cpus: int, reason: str
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(folder / "home"))
    (folder / "spec.yaml").write_text(SPEC)
    cluster_of(monkeypatch, nodes)
    options = RunOptions(str(folder / "runs"), "head:6379")
    sweep = Sweep.plan_spec(read(folder / "spec.yaml"), options, lambda *_: [])  # type: ignore[arg-type]
    # Nodes come and go: what is up now sets no limit.
    assert chosen(sweep.plan) == (None, {cpus})
    assert notes(sweep.plan) == [
        f"resources.cpus is not given: a worker takes {cpus} core{'s' if cpus > 1 else ''}, as {reason}"
    ]


def test_where_no_trial_fits_nothing_limits_those_that_run_elsewhere(folder: Path) -> None:
    planned = plan(folder, SPEC, ("resources.gpus=1",), place=place(here(8)))
    assert chosen(planned) == (None, {1})
    what = (
        "no trial fits on this machine (1 x (1 CPUs, 1 GPUs) for one of sft-full), so a worker takes 1 core"
    )
    assert what in " ".join(planned.notes)


def test_plan_says_what_only_a_clusters_nodes_can_decide(folder: Path) -> None:
    assert any(
        note.endswith("with --address, the cluster's nodes decide")
        for note in plan(folder, place=place(here(2))).notes
    )
