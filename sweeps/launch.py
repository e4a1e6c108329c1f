"""A plan carried out: Ray, one Tuner over all cells, and the run folder's tables at the end."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps import folder, hosts, residuals, room
from sweeps.cluster import DRIVERS, SLOTS, session
from sweeps.looker import Looker
from sweeps.plan import Plan
from sweeps.problems import SpecError
from sweeps.progress import Progress
from trainables import redaction, results

LEAVE_SECONDS = 5.0  # that trials have to save themselves after Ctrl-C
STOP_SECONDS = 1.0  # between looks at whether the run was asked to stop


class Left(KeyboardInterrupt):
    """The sweep was interrupted; everything finished is kept and the run can be resumed."""


def run(
    plan: Plan,
    run_folder: Path,
    address: str | None,
    progress: Progress,
    resume: bool = False,
    force: bool = False,
) -> None:
    """Runs what is left of a plan; returns once every trial has a record and the tables are written.

    A cluster's nodes are looked at before a new run's folder is made; with ``resume`` here, if work is left. What is
    foretold not to fit in memory is a row and is not started, unless ``force``.

    Raises :class:`Left` when interrupted, ``DataError`` for rows that no trial could be trained on.
    """
    from sweeps.search import CellSearch

    search = CellSearch(plan, run_folder)
    started = time.monotonic()
    try:
        if search.work_left():
            if resume and address is not None:
                hosts.refuse(plan, run_folder.parent, address)
            _forget_ray(run_folder)
            _sweep(plan, run_folder, address, search, progress, force)
    finally:
        _forget_ray(run_folder)
        results.write_tables(run_folder)
        residuals.learn(plan.cells, results.read(run_folder).records)
        folder.add_seconds(run_folder, time.monotonic() - started)


def _forget_ray(run_folder: Path) -> None:
    """Takes Ray's own state away: nothing goes on from it, and it holds pickles, which may be anybody's by then."""
    shutil.rmtree(run_folder / ".ray", ignore_errors=True)


def _sweep(
    plan: Plan, run_folder: Path, address: str | None, search: Any, progress: Progress, force: bool
) -> None:
    with _looked_at(plan, run_folder) as looker, _ray(run_folder, address) as ray:
        looker.finish()
        from sweeps.board import open_board

        name = f"board-{plan.spec.name}-{os.getpid()}"
        board = open_board(name)
        at_once = slots(plan, ray.cluster_resources())
        progress.begin(plan, run_folder, slots=at_once)
        search.room = None if force else _room(plan, ray if address else None, at_once)
        for line in room.warnings(plan, search.room) if search.room else ():
            progress.say(line)
        with _leaving(search, board, progress):
            try:
                _tuner(plan, run_folder, search, name, progress).fit()
            except BaseException:
                if not search.leaving:
                    raise
        if search.leaving:
            raise Left


def _room(plan: Plan, cluster: Any | None, at_once: int) -> room.Room | None:
    """What a trial's worker may take: the spec's word, else what there is on this machine, or on a cluster's nodes."""
    resources = plan.spec.resources
    if (stated := room.stated(resources)) is not None:
        return stated
    return room.anywhere(cluster, resources, at_once) if cluster else room.here(resources, at_once)


@contextmanager
def _looked_at(plan: Plan, run_folder: Path) -> Iterator[Looker]:
    """Has ``data.json`` written while the block begins; whoever leaves early leaves no process behind."""
    looker = Looker(plan, run_folder)
    try:
        yield looker
    finally:
        looker.stop()


def slots(plan: Plan, cluster: dict[str, float]) -> int:
    """How many trials run at a time: what the spec asks for, but no more than fit the cluster; at least one."""
    wanted = plan.spec.resources.concurrent or DRIVERS
    return max(1, min(fitting(plan, cluster), wanted, DRIVERS))


def fitting(plan: Plan, cluster: dict[str, float]) -> int:
    """How many trials have room in the cluster as it is at the same time."""
    resources = plan.spec.resources
    fits = cluster.get("CPU", 0) // (resources.cpus * resources.workers)
    if resources.gpus:
        fits = min(fits, cluster.get("GPU", 0) // (resources.gpus * resources.workers))
    return int(fits)


def refuse_too_large(plan: Plan) -> None:
    """A machine of one's own won't grow: a trial that doesn't fit it would wait for ever.

    Raises ``SpecError`` before anything is started.
    """
    here: dict[str, float] = {"CPU": os.cpu_count() or 1, "GPU": len(list(Path("/dev").glob("nvidia[0-9]*")))}
    if fitting(plan, here) < 1:
        takes = plan.spec.resources
        what = (
            f"a trial takes {takes.workers} x ({takes.cpus:g} CPUs and {takes.gpus:g} GPUs), and this machine has "
            f"{here['CPU']:g} CPUs and {here['GPU']:g} GPUs. Ask for less, or run on a cluster with --address"
        )
        raise SpecError(plan.spec.source.problem(("resources",), what))


def _keep_keys_to_themselves() -> None:
    """Tune hands AWS's keys to each actor as part of a process's command line, for every user of a node to see.

    Nothing of ours asks AWS for anything, and on the driver's machine they are in the environment anyway.
    """
    from ray.tune.execution import class_cache

    handed = class_cache.ENV_VARS_TO_PROPAGATE
    handed -= {name for name in handed if name.startswith("AWS_")}


def _tuner(plan: Plan, run_folder: Path, search: Any, board: str, progress: Progress) -> Any:
    import ray
    from ray import tune

    from sweeps.search import CellAsha, Ticks
    from sweeps.slot import Slot

    _keep_keys_to_themselves()
    return tune.Tuner(
        tune.with_resources(Slot, {"CPU": 0, SLOTS: 1}),
        param_space={
            "run": str(run_folder),
            "board": board,
            "resources": plan.spec.resources.model_dump(),
            "evaluate_at": {cell.name: list(cell.rungs) for cell in plan.cells},
        },
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=CellAsha(plan, run_folder, board),
            num_samples=-1,  # the search says when it is done
            max_concurrent_trials=slots(plan, ray.cluster_resources()),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run_folder / ".ray"),
            verbose=0,
            callbacks=[Ticks(progress.tick), Ticks(_Asked(run_folder))],
            failure_config=tune.FailureConfig(max_failures=2),
        ),
    )


class _Asked:
    """Ends the sweep as Ctrl-C does when ``paretune stop`` asks for it, from wherever."""

    def __init__(self, run_folder: Path) -> None:
        self.run_folder, self._looked, self._told = run_folder, 0.0, False

    def __call__(self) -> None:
        if self._told or time.monotonic() - self._looked < STOP_SECONDS:
            return
        self._looked = time.monotonic()
        if folder.asked_to_stop(self.run_folder):
            self._told = True
            os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _ray(run_folder: Path, address: str | None) -> Iterator[Any]:
    """Ray, joined or started on this machine; its own noise goes to ``sweep.log``."""
    own: dict[str, Any] = {"num_cpus": os.cpu_count(), "resources": {SLOTS: DRIVERS}}
    with (
        (run_folder / "sweep.log").open("a", encoding="utf-8") as log,
        session(redaction.Log(log), address, **({} if address else own)) as ray,
    ):
        yield ray


@contextmanager
def _leaving(search: Any, board: Any, progress: Progress) -> Iterator[None]:
    """Ctrl-C (or SIGTERM) once: trials save themselves and the sweep ends; what takes longer is cut off."""

    def leave(number: int, frame: Any) -> None:
        if search.leaving:
            raise Left
        search.leaving = True
        board.interrupt.remote()
        progress.leaving()
        signal.setitimer(signal.ITIMER_REAL, LEAVE_SECONDS)

    def cut_off(number: int, frame: Any) -> None:
        raise Left

    chosen = {signal.SIGINT: leave, signal.SIGTERM: leave, signal.SIGALRM: cut_off}
    before = {number: signal.signal(number, handler) for number, handler in chosen.items()}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def exit_code(run_folder: Path) -> int:
    """0 when every trial ended well; 1 when some failed. Stopped and out of memory are results."""
    records = results.read(run_folder).records
    failed = [record for record in records if record.status in ("failed", "interrupted")]
    if failed:
        print(f"{len(failed)} of {len(records)} trials failed; the report says why", file=sys.stderr)
    return 1 if failed else 0
