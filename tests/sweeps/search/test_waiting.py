"""What a trial waits for that could run is said in words: memory, cores, another trial, the end of a search."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.cluster.local_memory import LocalMachine
from sweeps.cluster.packing import Machine, Size, lacking
from sweeps.search.searcher import CellSearch
from sweeps.search.waiting import waits
from tests.helpers.specs import SPEC, plan
from tests.sweeps.search.test_searcher import Tune
from tests.sweeps.search.test_trial_queue import OWN, Room, admitted, finish

GIB = 2**30


def words(search: CellSearch) -> list[str]:
    return [str(wait) for wait in waits(search.queue)]


@pytest.mark.parametrize(
    ("machines", "held", "size", "expected"),
    [
        ([Machine("a", 4)], [Size(1, 1)], Size(1, 3), ""),
        ([Machine("a", 4)], [Size(1, 3)], Size(1, 3), "cores: needs 3, free 1"),
        (
            [Machine("a", 4, memory=8 * GIB)],
            [Size(1, 1, memory=6 * GIB)],
            Size(1, 1, memory=3 * GIB),
            "memory: needs 3 GiB, free 2 GiB",
        ),
        ([Machine("a", 4, 1)], [Size(1, 1, 0.5)], Size(1, 1, 1), "GPUs: needs 1, free 0.5"),
        # Of two machines, the one that lacks less says what is waited for.
        ([Machine("a", 1), Machine("b", 4)], [], Size(1, 2, 1), "GPUs: needs 1, free 0"),
        ([], [], Size(1, 1), "a machine: none is up"),
    ],
)
def test_the_resource_that_is_lacking_is_named_with_what_is_needed_and_what_is_free(
    machines: list[Machine], held: list[Size], size: Size, expected: str
) -> None:
    assert lacking(machines, held, size) == expected


def test_a_trial_that_waits_for_cores_says_so_until_there_are_some(workdir: Path, tmp_path: Path) -> None:
    run, room = tmp_path / "run", Room(Machine("a", 1))
    tune = Tune(admitted(plan(workdir, SPEC, ("finalists.seeds=1",)), run, room))
    first = tune.next()
    assert first is not None
    assert tune.next() is None
    assert words(tune.search) == [
        "the next trial of sft-full waits for cores: needs 1, free 0",
        "the next trial of sft-lora waits for cores: needs 1, free 0",
    ]
    room.machines.append(Machine("b", 8))
    assert words(tune.search) == []


def test_a_resumed_trial_that_waits_is_named_with_its_cell(workdir: Path, tmp_path: Path) -> None:
    planned, run = plan(workdir, SPEC, ("finalists.seeds=1",)), tmp_path / "run"
    begun = [config["trial_id"] for config in Tune(admitted(planned, run, Room(Machine("a", 3)))).all()]
    resumed = Tune(admitted(planned, run, Room(Machine("a", 1))))
    assert resumed.next() is not None
    waiting = [line for line in words(resumed.search) if not line.startswith("the next")]
    assert len(waiting) == 2
    assert all(line.split()[1] in begun for line in waiting)
    assert all(line.endswith(" waits for cores: needs 1, free 0") for line in waiting)


def test_finalists_wait_for_the_end_of_their_cells_search(workdir: Path, tmp_path: Path) -> None:
    planned = plan(workdir, SPEC, ("finalists.seeds=2", "search.trials=1"))
    tune = Tune(admitted(planned, tmp_path / "run", Room(Machine("a", 8))))
    begun = tune.all()
    ends_of_searches = [
        "the next finalist of sft-full waits for the end of its search",
        "the next finalist of sft-lora waits for the end of its search",
    ]
    assert words(tune.search) == ends_of_searches
    finish(tune, tmp_path / "run", next(c["trial_id"] for c in begun if c["cell"] == "sft-full"))
    assert words(tune.search)[-1:] == ends_of_searches[1:]


def test_a_cell_that_continues_from_another_waits_for_its_end(workdir: Path, tmp_path: Path) -> None:
    text = SPEC.replace(
        "stages: [{kind: sft}]", "stages: [{kind: sft}, {kind: sft, name: again, model: {from: sft}}]"
    )
    planned = plan(workdir, text, ("finalists.seeds=1", "search.trials=1"))
    assert not planned.errors
    tune = Tune(admitted(planned, tmp_path / "run", Room(Machine("a", 8))))
    tune.all()
    assert "again-full waits for the end of sft-full, as it continues from the best trial" in words(
        tune.search
    )


def test_who_is_held_up_by_a_trial_that_was_overtaken_too_often_says_by_which(
    workdir: Path, tmp_path: Path
) -> None:
    run, room = tmp_path / "run", Room(Machine("a", 8, 2))
    tune = Tune(admitted(plan(workdir, OWN, ("resources.gpus=0.5",)), run, room))
    running = [config["trial_id"] for config in tune.all()]
    while not tune.search.queue.holds_up("sft-full"):
        finish(tune, run, running.pop(0))
        running += [config["trial_id"] for config in tune.all()]
    finish(tune, run, running.pop(0))
    assert tune.next() is None
    found = words(tune.search)
    assert found[0].startswith("the next trial of sft-full waits for GPUs: needs 2, free ")
    assert found[1] == (
        "the next trial of sft-lora waits for the next trial of sft-full, before which others have started too often"
    )


def test_memory_that_other_processes_give_back_is_there_for_trials() -> None:
    free = [2 * GIB]
    local = LocalMachine(2 * GIB, lambda: free[0])
    (machine,) = local.with_memory([Machine("a", 2, memory=24 * GIB)])
    assert machine == Machine("a", 2, memory=2 * GIB)
    free[0] = 1 * GIB  # a trial of the sweep uses some
    assert local.with_memory([Machine("a", 2)])[0].memory == 2 * GIB
    free[0] = 9 * GIB
    assert local.with_memory([Machine("a", 2)])[0].memory == 9 * GIB
    assert LocalMachine(None).with_memory([Machine("a", 2)]) == [Machine("a", 2)]
