"""Trials of different size side by side: what fits, who goes first, and that nobody waits for ever."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.cluster.packing import Machine, Size, fits, how_many
from sweeps.commands.spec_options import with_memory_warnings
from sweeps.planning.plan import Plan
from sweeps.planning.resources.sizes import Sizes
from sweeps.search.admission import Admission
from sweeps.search.capacity import CapacityWatch
from sweeps.search.searcher import CellSearch
from sweeps.search.trial_queue import MAX_OVERTAKES, OvertakeCounter
from sweeps.spec.settings import ResourcesConfig
from tests.helpers.searches import search_of
from tests.helpers.specs import SPEC, plan, problems
from tests.sweeps.search.test_searcher import Tune, end

GIB = 2**30
HALF, WHOLE, TWO = Size(1, 1, 0.5), Size(1, 1, 1), Size(2, 1, 1)


# What fits


@pytest.mark.parametrize(
    ("machines", "sizes", "expected"),
    [
        ([Machine("a", 4)], [Size(1, 2), Size(1, 2)], True),
        ([Machine("a", 4)], [Size(1, 3), Size(1, 2)], False),
        ([Machine("a", 2), Machine("b", 3)], [Size(1, 2), Size(1, 3)], True),
        ([Machine("a", 3), Machine("b", 3)], [Size(1, 4)], False),  # no machine has it alone
        ([Machine("a", 3), Machine("b", 3)], [Size(2, 3)], True),  # but two workers may be on two
        ([Machine("a", 8, 1)], [HALF, HALF], True),
        ([Machine("a", 8, 1)], [HALF, HALF, HALF], False),
        ([Machine("a", 8, 1)], [Size(1, 1, 1 / 3)] * 3, True),
        ([Machine("a", 8, 2)], [Size(1, 1, 2 / 3)] * 3, False),  # a GPU isn't put together from two
        ([Machine("a", 8, 2)], [HALF, WHOLE, HALF], True),
        ([Machine("a", 8, 4)], [Size(1, 1, 2), TWO], True),
        ([Machine("a", 8, memory=8 * GIB)], [Size(1, 1, memory=5 * GIB), Size(1, 1, memory=3 * GIB)], True),
        ([Machine("a", 8, memory=8 * GIB)], [Size(1, 1, memory=5 * GIB)] * 2, False),
        ([Machine("a", 8)], [Size(1, 1, memory=5 * GIB)] * 2, True),  # nobody knows how much it has
        ([], [Size(1, 1)], False),
        ([], [], True),
    ],
)
def test_trials_fit_where_every_worker_has_a_machine(
    machines: list[Machine], sizes: list[Size], expected: bool
) -> None:
    assert fits(machines, sizes) is expected
    assert fits(machines, sizes[::-1]) is expected


sizes_of_any_kind = st.builds(
    Size,
    workers=st.integers(1, 3),
    cpus=st.integers(1, 3),
    gpus=st.sampled_from([0, 0.25, 1 / 3, 0.5, 1, 2]),
    memory=st.integers(0, 8).map(lambda gib: gib * GIB),
)
machines_of_any_kind = st.builds(
    Machine,
    id=st.just("m"),
    cpus=st.integers(0, 8),
    gpus=st.integers(0, 4),
    memory=st.none() | st.integers(0, 16).map(lambda gib: gib * GIB),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(machines_of_any_kind, max_size=3), st.lists(sizes_of_any_kind, max_size=4))
def test_sizes_that_fit_need_no_more_than_there_is(machines: list[Machine], sizes: list[Size]) -> None:
    if fits(machines, sizes):
        assert sum(size.workers * size.cpus for size in sizes) <= sum(machine.cpus for machine in machines)
        assert (
            sum(size.workers * size.gpus for size in sizes)
            <= sum(machine.gpus for machine in machines) + 1e-6
        )
        known = [machine.memory for machine in machines]
        if None not in known:
            assert sum(size.workers * size.memory for size in sizes) <= sum(m for m in known if m is not None)


def test_a_count_ends_where_no_more_fit_or_are_requested() -> None:
    assert how_many([Machine("a", 8, 2)], HALF, limit=64) == 4
    assert how_many([Machine("a", 8, 2)], HALF, limit=3) == 3
    assert how_many([Machine("a", 8)], HALF, limit=3) == 0


def test_as_many_run_as_fit_and_are_allowed() -> None:
    admission = Admission(lambda: [Machine("a", 8, 2)], limit=3)
    for number in range(3):
        assert admission.fits(HALF)
        admission.begin(f"t{number}", HALF)
    assert admission.full
    assert not admission.fits(HALF)
    admission.end("t0")
    assert admission.fits(WHOLE)  # two halves share the other GPU
    assert admission.last_size == HALF


def test_a_slow_query_of_the_machines_is_not_repeated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("sweeps.search.admission.time.monotonic", lambda: clock[0])
    queries = []

    def list_machines() -> list[Machine]:
        queries.append(clock[0])
        clock[0] += 3.0
        return [Machine("a", 8, 2)]

    admission = Admission(list_machines, 3, refresh_seconds=2.0)
    for _ in range(4):
        assert admission.fits(HALF)
    clock[0] += 2.0
    assert admission.fits(HALF)
    assert queries == [100.0, 105.0]


# How much a trial takes


class FakeCellMemory:
    """A cell's prediction, of as many GiB as a test says; several workers share them."""

    def __init__(self, gib: float, plan: Plan, workers: int = 1) -> None:
        self.gib, self.workers = gib, workers
        self.config = plan.cells[0].first()

    def for_config(self, config: Any) -> FakeConfigMemory:
        return FakeConfigMemory(config, int(self.gib * GIB), self.workers)

    @property
    def smallest(self) -> FakeConfigMemory:
        return self.for_config(self.config)

    largest = smallest


class FakeConfigMemory:
    def __init__(self, config: Any, bytes: int, workers: int = 1) -> None:
        self.config, self.bytes, self.workers = config, bytes, workers
        self.peak_bytes = bytes // workers

    def worker_options(self) -> list[FakeConfigMemory]:
        rows = self.config.train.batch_size
        return [
            FakeConfigMemory(self.config, self.bytes, workers)
            for workers in range(1, rows + 1)
            if rows % workers == 0
        ]


def with_predictions(planned: Plan, *gib: float) -> Plan:
    """The plan, with so many GiB predicted for each of its cells."""
    cells = tuple(
        replace(cell, predicted=FakeCellMemory(amount, planned))  # type: ignore[arg-type]
        for cell, amount in zip(planned.cells, gib, strict=True)
    )
    return replace(planned, cells=cells)


GPU_OF_24 = (Machine("a", 8, 2, gpu_bytes=24 * GIB),)


def taken(planned: Plan, machines: tuple[Machine, ...], at_once: int = 4) -> list[Size]:
    sizes = Sizes.for_cells(planned.cells, machines, at_once)
    return [sizes.for_trial(cell, cell.first()) for cell in planned.cells]


@pytest.mark.parametrize(
    ("gib", "share"),
    [
        (23.5, 1),
        (20, 1),
        (10.5, 1 / 2),
        (7, 1 / 3),
        (4, 1 / 5),
        (0.1, 1 / 8),
        (11.5, 1),
    ],  # a context takes some, too
)
def test_a_trial_gets_the_smallest_share_of_a_gpu_that_it_fits_in(
    workdir: Path, gib: float, share: float
) -> None:
    planned = with_predictions(plan(workdir, SPEC, ("resources.gpus=auto",)), 20, gib)
    assert taken(planned, GPU_OF_24)[1] == Size(1, 1, share)


def test_a_trial_too_large_for_a_gpu_is_shared_by_workers_if_the_spec_allows_it(workdir: Path) -> None:
    sets = ("resources.gpus=auto", "resources.workers=auto", "train.batch_size=8")
    planned = with_predictions(plan(workdir, SPEC, sets), 60, 7)
    assert taken(planned, GPU_OF_24) == [Size(4, 1, 1), Size(1, 1, 1 / 3)]
    alone = with_predictions(plan(workdir, SPEC, ("resources.gpus=auto",)), 60, 7)
    over = Sizes.for_cells(alone.cells, GPU_OF_24).excess(alone.cells[0], alone.cells[0].first())
    assert over is not None
    assert "training is predicted to need 60.00 GiB, and a worker has 24.00 GiB (a GPU of 24.00 GiB)" in str(
        over
    )


def test_workers_of_one_trial_take_whole_gpus_though_each_would_fit_in_a_share(workdir: Path) -> None:
    sets = ("resources.gpus=auto", "resources.workers=2", "train.batch_size=4")
    planned = plan(workdir, SPEC, sets)
    shared: Any = FakeCellMemory(8, planned, workers=2)
    cells = tuple(replace(cell, predicted=shared) for cell in planned.cells)
    assert taken(replace(planned, cells=cells), GPU_OF_24) == [Size(2, 1, 1)] * 2


@pytest.mark.parametrize("workers", [2, "auto"])
def test_workers_of_one_trial_cannot_share_a_gpu(workdir: Path, workers: int | str) -> None:
    sets = ("resources.gpus=0.5", f"resources.workers={workers}", "train.batch_size=4")
    found = {problem.what for problem in plan(workdir, SPEC, sets).errors}
    assert found == {
        "the workers of one trial can't share a GPU; give whole GPUs, or gpus: auto, or one worker"
    }


def test_a_worker_with_several_gpus_is_told_that_it_uses_one(workdir: Path) -> None:
    found = {problem.what for problem in plan(workdir, SPEC, ("resources.gpus=2",)).warnings}
    said = "a worker trains on one GPU, so 1 of its 2 would be idle; give workers: 2 with gpus: 1"
    assert said in found


def test_a_share_of_a_gpu_is_what_its_worker_may_allocate(
    workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of 24 GiB, of which the CUDA context takes a half GiB."""
    monkeypatch.setattr("sweeps.cluster.node_resources.this_machine", lambda: GPU_OF_24[0])
    planned = with_predictions(plan(workdir, SPEC, ("resources.gpus=0.5",)), 11.6, 11.4)
    sizes = Sizes.for_cells(planned.cells, GPU_OF_24)
    over, within = (sizes.excess(cell, cell.first()) for cell in planned.cells)
    assert over is not None
    assert within is None
    (warning,) = set(with_memory_warnings(planned).warnings) - set(planned.warnings)
    assert warning.what.startswith(
        "sft-full: no trial fits (predicted peak 11.60 to 11.60 GiB; a worker has 11.50 GiB: a GPU of 24.00 GiB, 0.5 "
        "of it for each worker, 0.50 GiB of that for CUDA itself)"
    )
    whole = with_predictions(plan(workdir, SPEC, ("resources.gpus=1",)), 11.6, 11.4)
    assert with_memory_warnings(whole).warnings == whole.warnings


def test_an_entry_may_set_the_resources_of_its_trials(workdir: Path) -> None:
    text = SPEC.replace("{kind: full}", "{kind: full, resources: {gpus: 1, workers: 2}}")
    planned = plan(workdir, text, ("resources.gpus=0.5", "train.batch_size=4"))
    assert not planned.errors
    assert taken(planned, ()) == [Size(2, 1, 1), Size(1, 1, 0.5)]


def test_an_entrys_resources_change_no_trial(workdir: Path) -> None:
    text = SPEC.replace("{kind: full}", "{kind: full, resources: {cpus: 2}}")
    ids = [[cell.first().trial_id() for cell in plan(workdir, given).cells] for given in (SPEC, text)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (
            "{concurrent: 2}",
            "spec.yaml:6 methods[0].resources.concurrent: this applies to the whole sweep. Move it to resources",
        ),
        (
            "{gpus: {compare: [0.5, 1]}}",
            "spec.yaml:6 methods[0].resources.gpus: this is the same for all trials, so it can be neither compared nor "
            "searched. Give one value",
        ),
        (
            "{gpus: {choice: [0.5, 1]}}",
            "spec.yaml:6 methods[0].resources.gpus: this is the same for all trials, so it can be neither compared nor "
            "searched. Give one value",
        ),
        (
            "{gpu: 1}",
            "spec.yaml:6 methods[0].resources.gpu: unknown key. Did you mean gpus? Allowed: workers, cpus, "
            "gpus, memory, concurrent, stall_seconds, ... (8 keys)",
        ),
        (
            "{workers: 0}",
            "spec.yaml:6 methods[0].resources.workers: got 0; a trial has 1 to 1024 workers, or auto",
        ),
        (
            "2",
            "spec.yaml:6 methods[0].resources: got 2. Write resources: {cpus: 2}. Allowed: a mapping",
        ),
    ],
)
def test_what_an_entry_may_not_say_is_reported_once(workdir: Path, own: str, expected: str) -> None:
    text = SPEC.replace("{kind: full}", f"{{kind: full, resources: {own}}}")
    assert problems(workdir, text) == [expected]


def test_workers_must_share_an_entrys_rows_evenly(workdir: Path) -> None:
    text = SPEC.replace("{kind: full}", "{kind: full, resources: {workers: 3}}")
    assert problems(workdir, text) == [
        "spec.yaml:8 train.batch_size: 2 rows can't be divided evenly among 3 workers; use a multiple of 3"
    ]


def test_main_memory_is_reserved_alike_where_there_is_enough(workdir: Path) -> None:
    planned = with_predictions(plan(workdir), 4, 1)
    roomy, tight = (Machine("a", 4, memory=32 * GIB),), (Machine("a", 4, memory=16 * GIB),)
    assert taken(planned, roomy) == [Size(1, 1, memory=6 * GIB)] * 2
    assert taken(planned, tight) == [Size(1, 1, memory=6 * GIB), Size(1, 1, memory=3 * GIB)]
    assert taken(planned, tight, at_once=2) == [Size(1, 1, memory=6 * GIB)] * 2


# Who goes first


class Room:
    """A cluster whose machines a test changes."""

    def __init__(self, *machines: Machine) -> None:
        self.machines = list(machines)


def admitted(planned: Plan, run: Path, room: Room, most: int = 64) -> CellSearch:
    run.mkdir(exist_ok=True)
    sizes = Sizes.for_cells(planned.cells, room.machines, most)
    # Each look at the cluster sees what a test has changed.
    return search_of(planned, run, sizes, Admission(lambda: room.machines, most, refresh_seconds=0))


def finish(tune: Tune, run: Path, trial_id: str) -> None:
    end(run, trial_id, "done", 0.5)
    tune.complete(trial_id)


OWN = SPEC.replace("{kind: full}", "{kind: full, resources: {gpus: 2}}").replace(
    "{trials: 3}", "{trials: 20}"
)


def test_no_more_trials_start_than_fit_and_the_rest_start_when_there_is_capacity(
    workdir: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    tune = Tune(admitted(plan(workdir), run, Room(Machine("a", 2))))
    first = [tune.next(), tune.next()]
    assert all(first)
    assert tune.next() is None
    assert tune.search.waits()
    finish(tune, run, first[0]["trial_id"])  # type: ignore[index]
    assert tune.next() is not None
    assert tune.next() is None


def test_a_study_is_not_asked_for_a_config_before_there_is_capacity_for_it(
    workdir: Path, tmp_path: Path
) -> None:
    """Or the search would propose it without what the trials that run will have taught."""
    tune = Tune(admitted(plan(workdir), tmp_path / "run", Room(Machine("a", 2))))
    while tune.next() is not None:
        pass
    assert sum(study.count for study in tune.search.work.studies.values()) == 1  # beside the base model


def test_small_trials_overtake_a_large_one_without_capacity_but_not_forever(
    workdir: Path, tmp_path: Path
) -> None:
    run, room = tmp_path / "run", Room(Machine("a", 8, 2))
    planned = plan(workdir, OWN, ("resources.gpus=0.5",))
    tune = Tune(admitted(planned, run, room))
    running = [tune.next() for _ in range(4)]
    assert [config["cell"] for config in running if config] == [
        "sft-base",
        "sft-lora",
        "sft-lora",
        "sft-lora",
    ]
    passed = 3
    for _ in range(40):
        if tune.search.work.studies["sft-full"].count:
            break
        finish(tune, run, running.pop(0)["trial_id"])  # type: ignore[index]
        while (found := tune.next()) is not None:
            running.append(found)
            passed += found["cell"] == "sft-lora"
    assert tune.search.work.studies["sft-full"].count == 1
    assert passed == MAX_OVERTAKES
    assert [config["cell"] for config in running if config] == ["sft-full"]  # it had to have both GPUs


def test_budgets_are_spent_whatever_the_mix(workdir: Path, tmp_path: Path) -> None:
    run, room = tmp_path / "run", Room(Machine("a", 8, 2))
    tune = Tune(admitted(plan(workdir, OWN, ("resources.gpus=0.5",)), run, room))
    running: list[str] = []
    for _ in range(200):
        while (found := tune.next()) is not None:
            running.append(found["trial_id"])
        if not running:
            break
        finish(tune, run, running.pop(0))
    assert {name: study.count for name, study in tune.search.work.studies.items()} == {
        "sft-full": 20,
        "sft-lora": 20,
    }
    assert not tune.search.work.any_remaining()


def test_a_slots_size_is_kept_while_cells_are_nearly_level(workdir: Path, tmp_path: Path) -> None:
    run, room = tmp_path / "run", Room(Machine("a", 1, 1))
    text = OWN.replace("gpus: 2", "gpus: 1")
    tune = Tune(admitted(plan(workdir, text, ("resources.gpus=0.5",)), run, room))
    order = []
    while (found := tune.next()) is not None:
        order.append(found["cell"].removeprefix("sft-"))
        finish(tune, run, found["trial_id"])
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert changes <= len(order) / 2
    assert all(abs(order[:n].count("full") - order[:n].count("lora")) <= 2 for n in range(len(order)))


def test_a_new_machine_is_used_as_soon_as_it_is_seen(workdir: Path, tmp_path: Path) -> None:
    room = Room(Machine("a", 1))
    tune = Tune(admitted(plan(workdir), tmp_path / "run", room))
    assert tune.next()
    assert tune.next() is None
    room.machines.append(Machine("b", 1))
    assert tune.next()


def test_names_that_were_overtaken_often_enough_hold_up_all_others(workdir: Path) -> None:
    first, second = (cell.first() for cell in plan(workdir).cells)
    overtakes = OvertakeCounter(limit=2)
    overtakes.started(first, ["large"])
    assert overtakes.may_be_overtaken("large")
    overtakes.started(first, ["large", second.cell])
    assert not overtakes.may_be_overtaken("large")
    assert overtakes.may_be_overtaken(second.cell)
    overtakes.started(second, [second.cell])
    overtakes.started(first, [second.cell])
    assert overtakes.may_be_overtaken(second.cell)  # it was counted anew when it started
    assert not overtakes.may_be_overtaken("large")


# Waiting for capacity


def waiting(search: CellSearch, seconds: float | None) -> tuple[CapacityWatch, list[str]]:
    messages: list[str] = []
    return CapacityWatch(search.queue, search.shutdown, messages.append, seconds, None), messages


def turn(watch: CapacityWatch, clock: list[float], seconds: float) -> None:
    clock[0] += seconds
    watch()


def test_missing_capacity_is_reported_and_waited_for_no_longer_than_allowed(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("sweeps.search.capacity.time.monotonic", lambda: clock[0])
    search = admitted(plan(workdir, SPEC, ("resources.cpus=4",)), tmp_path / "run", Room(Machine("a", 2)))
    watch, messages = waiting(search, 100)
    assert Tune(search).next() is None
    assert search.waits()
    turn(watch, clock, 1)
    turn(watch, clock, 20)
    turn(watch, clock, 20)
    assert len(messages) == 1
    assert (
        "needs 1 x (4 CPUs), and no machine that is up has that much (2 CPUs); the sweep waits at most 100 s"
        in messages[0]
    )
    assert not search.shutdown.requested
    turn(watch, clock, 100)
    assert search.shutdown.requested
    assert "the sweep ends here; --resume continues it later" in messages[1]


def test_while_a_trial_runs_the_sweep_does_not_give_up(
    workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("sweeps.search.capacity.time.monotonic", lambda: clock[0])
    search = admitted(plan(workdir), tmp_path / "run", Room(Machine("a", 1)))
    watch, messages = waiting(search, 100)
    assert Tune(search).next()
    for _ in range(5):
        turn(watch, clock, 1000)
    assert not messages
    assert not search.shutdown.requested


def test_a_share_is_one_over_a_whole_number() -> None:
    for gpus in (0, 0.5, 0.25, 1, 2, "auto"):
        ResourcesConfig(gpus=gpus)  # type: ignore[arg-type]
    for gpus in (0.4, 1.5, -1):
        with pytest.raises(ValueError, match="a half, a third, a quarter"):
            ResourcesConfig(gpus=gpus)


LORA_AND_QLORA = """\
  - {kind: lora, rank: {choice: [4, 8]}}
  - {kind: qlora, rank: {choice: [4, 8]}}
  - {kind: lora, name: dora, dora: true, rank: {choice: [4, 8]}}
"""


@pytest.mark.parametrize(
    ("at_once", "sampler", "scheduler", "by_base"),
    [
        (1, "tpe", "asha", True),  # each cell knows all of its results before its next trial
        (2, "tpe", "asha, order: depth", False),
        (2, "qmc", "asha, order: depth", False),  # who is stopped depends on who was there before
        (2, "qmc", "asha", True),
        (2, "qmc", "none", True),
    ],
)
def test_a_slot_goes_on_with_the_base_that_it_holds_where_no_result_depends_on_the_order(
    workdir: Path, run: Path, at_once: int, sampler: str, scheduler: str, by_base: bool
) -> None:
    methods = SPEC[SPEC.index("  - {kind: full}") : SPEC.index("train: {steps")]
    sets = (f"search={{trials: 6, sampler: {sampler}, scheduler: {scheduler}}}",)
    planned = plan(workdir, SPEC.replace(methods, LORA_AND_QLORA), sets)
    tune = Tune(admitted(planned, run, Room(Machine("large", 100)), at_once))
    cells = []
    while (config := tune.next()) is not None:
        cells.append(config["cell"])
        finish(tune, run, config["trial_id"])
    assert Counter(cells[1:]) == {"sft-lora": 6, "sft-qlora-4bit": 6, "sft-dora": 6}
    quantized = [cell == "sft-qlora-4bit" for cell in cells]
    changes = sum(one != other for one, other in itertools.pairwise(quantized))
    assert changes == 3 if by_base else changes > 8
    for trials in range(len(cells) + 1):  # no cell is ahead of the others by more than two
        counts = [cells[:trials].count(name) for name in ("sft-lora", "sft-qlora-4bit", "sft-dora")]
        assert max(counts) - min(counts) <= 2
