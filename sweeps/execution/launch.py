"""A plan carried out: Ray, one Tuner over all cells, and the run folder's tables at the end."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweeps.cluster import node_resources
from sweeps.cluster.node_resources import Machines
from sweeps.cluster.packing import Machine, Size, fits, how_many
from sweeps.cluster.session import DRIVERS, SLOTS, session
from sweeps.console.sweep_progress import Progress
from sweeps.execution import preflight, staging
from sweeps.execution.loop_tasks import Asked, Drains, Every, Listens, Saved
from sweeps.execution.preview_process import Looker
from sweeps.execution.run_folder import add_seconds
from sweeps.planning.memory import calibration
from sweeps.planning.plan import Plan
from sweeps.runs.mirror import Mirror
from sweeps.search import trial_sizes
from sweeps.search.admission import Admission
from sweeps.search.capacity import Demand, Patience
from sweeps.search.trial_sizes import Sizes
from sweeps.spec.problems import SpecError
from trainables import results
from trainables.storage import outage
from trainables.storage.url_store import StorageError
from trainables.system import redaction

LEAVE_SECONDS = 5.0  # that trials have to save themselves after Ctrl-C
REMOTE_LEAVE_SECONDS = 60.0  # where what they save has a way to go
# Times a trial's slot may die before the trial counts as failed: machines vanish, and trials don't do it.
SLOT_FAILURES = 20


class Left(KeyboardInterrupt):
    """The sweep was interrupted; everything finished is kept and the run can be resumed."""


def run(
    plan: Plan,
    run_folder: Path,
    address: str | None,
    progress: Progress,
    resume: bool = False,
    force: bool = False,
    mirror: Mirror | None = None,
) -> None:
    """Runs what is left of a plan; returns once every trial has a record and the tables are written.

    A cluster's nodes are looked at before a new run's folder is made; with ``resume`` here, if work is left. What is
    foretold not to fit in memory is a row and is not started, unless ``force``. ``mirror``: the run is at a URL, which
    its folder mirrors.

    Raises :class:`Left` when interrupted, ``DataError`` for rows that no trial could be trained on.
    """
    from sweeps.search.searcher import CellSearch

    search = CellSearch(plan, run_folder)
    search.mirror = mirror
    started = time.monotonic()
    try:
        if search.work_left() and resume and address is not None:
            output = mirror.url.rpartition("/")[0] if mirror else str(run_folder.parent)
            preflight.refuse(plan, output, address)
        while search.work_left():
            try:
                _forget_ray(run_folder)
                _sweep(plan, run_folder, address, search, progress, force)
                break
            except Exception as error:
                if not _storage_is_back(error, run_folder, progress):
                    raise
                if mirror is not None:
                    mirror.again()
                search = CellSearch(plan, run_folder)  # what is true is in the run folder
                search.mirror = mirror
    finally:
        _forget_ray(run_folder)
        try:
            _conclude(plan, run_folder, time.monotonic() - started)
        except OSError as error:
            if search.leaving or not _storage_is_back(error, run_folder, progress):
                raise
            _conclude(plan, run_folder, time.monotonic() - started)


def _conclude(plan: Plan, run_folder: Path, seconds: float) -> None:
    """Gathers what the trials have written."""
    results.write_tables(run_folder)
    calibration.learn(plan.cells, results.read(run_folder).records)
    add_seconds(run_folder, seconds)


def _storage_is_back(error: Exception, run_folder: Path, progress: Progress) -> bool:
    """Whether a sweep ended because its folder could not be written to, and now it can."""
    why = outage.of_storage(error, run_folder)
    if why is None or isinstance(error, StorageError):  # a store at a URL was waited for long enough
        return False
    progress.say(f"nothing can be written: {why}; the sweep goes on once it can")
    return outage.outlasted(run_folder)


def _forget_ray(run_folder: Path) -> None:
    """Takes Ray's own state away: nothing goes on from it, and it holds pickles, which may be anybody's by then."""
    shutil.rmtree(run_folder / ".ray", ignore_errors=True)


def _sweep(
    plan: Plan, run_folder: Path, address: str | None, search: Any, progress: Progress, force: bool
) -> None:
    with _looked_at(plan, run_folder) as looker, _ray(run_folder, address) as ray:
        looker.finish()
        from sweeps.cluster.actors import open_board

        name = f"board-{plan.spec.name}-{os.getpid()}"
        board = open_board(name)
        machines = Machines(ray)
        admission = Admission(machines.look, plan.spec.resources.concurrent or DRIVERS)
        found = admission.machines
        at_once = slots(plan, found)
        progress.begin(plan, run_folder, slots=at_once)
        if address:
            staging.stage(ray, plan, run_folder, search.mirror, progress.say)
        takes = Sizes.of_plan(plan, found, at_once, force)
        search.line.admission, search.line.sizes = admission, takes
        for warning in trial_sizes.warnings(plan, takes):
            progress.say(warning)
        demand = Demand(ray) if address else None
        patience = Patience(search, progress.say, plan.spec.resources.wait_seconds, demand)
        turns: list[Callable[[], None]] = [
            progress.tick,
            Every(Asked(run_folder)),
            Every(Drains(machines, board)),
            Every(patience),
        ]
        turns += [Every(Listens(board, run_folder))] if search.mirror else []
        turns += [] if address else [Every(Saved(lambda: search.leaving, board, _leave))]
        search.idle = lambda: [turn() for turn in turns]
        with _leaving(search, board, progress):
            try:
                _tuner(plan, run_folder, search, name, turns).fit()
            except BaseException:
                if not search.leaving:
                    raise
            finally:
                if demand is not None:
                    demand.close()
        if search.leaving:
            raise search.mirror.trouble if search.mirror and search.mirror.trouble else Left


def _leave() -> None:
    raise Left


@contextmanager
def _looked_at(plan: Plan, run_folder: Path) -> Iterator[Looker]:
    """Has ``data.json`` written while the block begins; whoever leaves early leaves no process behind."""
    looker = Looker(plan, run_folder)
    try:
        yield looker
    finally:
        looker.stop()


def slots(plan: Plan, machines: Sequence[Machine]) -> int:
    """How many trials run at a time: what the spec asks for, but no more than fit the machines; at least one."""
    wanted = min(plan.spec.resources.concurrent or DRIVERS, DRIVERS)
    return max(1, max((how_many(machines, size, wanted) for size in _bare(plan)), default=1))


def _bare(plan: Plan) -> list[Size]:
    """What trials take but for memory, by what the spec says."""
    alone = Sizes(())
    return list(dict.fromkeys(replace(alone.least(cell), memory=0) for cell in plan.cells))


def refuse_too_large(plan: Plan) -> None:
    """A machine of one's own won't grow: a trial that doesn't fit it would wait for ever.

    Raises ``SpecError`` before anything is started.
    """
    here = replace(node_resources.here(), memory=None, gpus=len(list(Path("/dev").glob("nvidia[0-9]*"))))
    for cell in plan.cells:
        size = replace(Sizes((here,)).least(cell), memory=0)
        if not fits([here], [size]):
            what = (
                f"a trial of {cell.name} takes {size}, and this machine has {here}. Ask for less, or run on a cluster "
                "with --address"
            )
            raise SpecError(plan.spec.source.problem(("resources",), what))


def _keep_keys_to_themselves() -> None:
    """Tune hands AWS's keys to each actor as part of a process's command line, for every user of a node to see.

    On the driver's machine they are in the environment anyway, and for a run at a URL each node has its own.
    """
    from ray.tune.execution import class_cache

    handed = class_cache.ENV_VARS_TO_PROPAGATE
    handed -= {name for name in handed if name.startswith("AWS_")}


def _tuner(plan: Plan, run_folder: Path, search: Any, board: str, turns: Sequence[Callable[[], None]]) -> Any:
    from ray import tune

    from sweeps.execution.slot import Request, Slot
    from sweeps.search.asha import CellAsha
    from sweeps.search.searcher import Ticks

    _keep_keys_to_themselves()
    return tune.Tuner(
        tune.with_resources(Slot, Request.of),
        param_space={
            "run": search.mirror.url if search.mirror else str(run_folder),
            "board": board,
            "stall_seconds": plan.spec.resources.stall_seconds,
            "evaluate_at": {cell.name: list(cell.rungs) for cell in plan.cells},
        },
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=CellAsha(plan, run_folder, board),
            num_samples=-1,  # the search says when it is done
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(run_folder / ".ray"),
            verbose=0,
            callbacks=[Ticks(turn) for turn in turns],
            failure_config=tune.FailureConfig(max_failures=SLOT_FAILURES),
        ),
    )


@contextmanager
def _ray(run_folder: Path, address: str | None) -> Iterator[Any]:
    """Ray, joined or started on this machine; its own noise goes to ``sweep.log``."""
    own: dict[str, Any] = {
        "num_cpus": os.cpu_count(),
        "resources": {SLOTS: DRIVERS},
        "_memory": node_resources.here().memory,
    }
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
        signal.setitimer(signal.ITIMER_REAL, REMOTE_LEAVE_SECONDS if search.mirror else LEAVE_SECONDS)

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
