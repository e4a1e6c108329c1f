"""The command line: the one place where trials, sweeps and reports meet.

Imports sit inside the commands, so that ``paretune --help`` costs nothing.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import chat, environment, evaluate, export, serve
from sweeps.commands import plan as commands_plan
from sweeps.commands import runs as commands_runs
from sweeps.commands.errors import FAILED, INTERRUPTED, Debug, ended_like_by_ctrl_c, users_errors
from sweeps.commands.spec_options import SetOption, SpecArgument, make, refuse

if TYPE_CHECKING:
    from sweeps.evaluation.significance import Statistics
    from sweeps.planning.plan import Plan
    from sweeps.runs.location import Place
    from sweeps.spec.spec import Spec
    from sweeps.tracking.tracker import Tracker
    from trainables.results import Record

app = typer.Typer(
    name="paretune",
    help="Which fine-tuning method, with which settings, is worth its memory?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the stack trace of an error.")] = False,
) -> None:
    Debug.on = debug


@app.command()
def run(
    spec: SpecArgument,
    output: Annotated[
        str, typer.Option(help="The run folder is OUTPUT/NAME; a path, s3://, gs://, ...")
    ] = "runs",
    address: Annotated[str | None, typer.Option(help="A Ray cluster: auto, or HOST:PORT.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run that was interrupted.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Start trials, too, that are foretold not to fit in memory.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return once it has begun; it outlives the terminal.")
    ] = False,
    sets: SetOption = None,
) -> None:
    """Plan, launch, follow, and report a sweep. Prints the report's path last."""
    with users_errors():
        from sweeps.execution import launch, preflight
        from sweeps.execution.run_folder import prepare
        from sweeps.runs import location
        from sweeps.spec.spec import read
        from sweeps.tracking.tracker import Tracker

        place, plan = _planned(read(spec, sets or ()), output, address, resume)
        if address is None:
            launch.refuse_too_large(plan)
        tracker = Tracker(plan, place.folder)  # refuses what it can't do before anything is written
        location.refuse_here(place)
        if address is not None and (detach or not resume):
            preflight.refuse(plan, place.output, address)
        if detach:
            _detach(plan, place, address, resume, force)
            return
        with place.held(resume), ended_like_by_ctrl_c():
            prepare(plan, place.folder, resume, place.shown)
            code = _carry_out(plan, place, address, tracker, resume, force)
    raise typer.Exit(code)


def _planned(spec: Spec, output: str, address: str | None, resume: bool) -> tuple[Place, Plan]:
    """Where a spec's run is, and its plan without errors: one that is resumed starts from what it began with."""
    from sweeps.runs import location
    from sweeps.runs.earlier_results import Earlier

    place = location.at(output, spec.name)
    earlier = Earlier(_answers, place.settled) if resume else Earlier(_answers)
    plan = make(spec, earlier, fetch=True, here=address is None)
    refuse(plan)
    return place, plan


def _detach(plan: Plan, place: Place, address: str | None, resume: bool, force: bool) -> None:
    """Has a driver of its own go on from here, once all that a user can have got wrong was looked at."""
    from sweeps.execution.detached import start
    from sweeps.execution.detached.driver import NotBegun
    from sweeps.execution.detached.run_request import Orders
    from sweeps.execution.run_folder import check_location

    check_location(plan, place, resume)
    try:
        driver = start.begin(place.folder, Orders.of(plan, place.output, address, resume, force))
    except NotBegun as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.code) from None
    typer.echo(f"{plan.spec.name} runs as {driver}. To follow it, and to end it:")
    for command in ("status", "logs", "stop"):
        typer.echo(f"  paretune {command} {shlex.quote(place.shown)}")


@app.command(hidden=True)
def drive(orders: Annotated[Path, typer.Argument(metavar="RUN/ORDERS")]) -> None:
    """Carry out what ``run --detach`` asked for, in a process of its own whose output is the run's driver.log."""
    from sweeps.execution.detached import start

    with start.logged(), users_errors():
        raise typer.Exit(_drive(orders))


def _drive(path: Path) -> int:
    from sweeps.execution.detached.run_request import Orders
    from sweeps.execution.run_folder import prepare
    from sweeps.tracking.tracker import Tracker

    orders = Orders.read(path)
    orders.take_on()
    place, plan = _planned(orders.spec(), orders.output, orders.address, orders.resume)
    tracker = Tracker(plan, place.folder)
    with place.held(orders.resume), ended_like_by_ctrl_c():
        prepare(plan, place.folder, orders.resume, place.shown)
        path.unlink()  # who waits for that may go now
        return _carry_out(plan, place, orders.address, tracker, orders.resume, orders.force)


def _carry_out(
    plan: Plan, place: Place, address: str | None, tracker: Tracker, resume: bool, force: bool
) -> int:
    _keep_fonts()
    from reports.write import write
    from sweeps.console.sweep_progress import Progress
    from sweeps.execution import launch
    from trainables.storage.url_store import StorageError

    progress = Progress()
    place.say_with(progress.say)
    with tracker.following(progress.say):
        try:
            launch.run(plan, place.folder, address, progress, resume, force, place.mirror)
            progress.end()
            report = write([place.folder])
            tracker.summarize()
        except KeyboardInterrupt:
            progress.end()
            tracker.leave()
            again = _again(plan, place.output, address, force)
            print(f"Interrupted. To go on: {again}", file=sys.stderr)
            place.hurry()
            return INTERRUPTED
        except StorageError as error:
            progress.end()
            tracker.leave()
            again = _again(plan, place.output, address, force)
            print(f"{error}. Everything finished is kept. To go on: {again}", file=sys.stderr)
            return FAILED
    code = launch.exit_code(place.folder)
    place.settle()
    print(place.name_of(report))
    return code


def _again(plan: Plan, output: str, address: str | None, force: bool = False) -> str:
    """The command that goes on with a run."""
    sets = [word for override in plan.spec.overrides for word in ("--set", override)]
    where = ["--output", output, *(["--address", address] if address else [])]
    options = [*where, *sets, *(["--force"] if force else []), "--resume"]
    return shlex.join(["paretune", "run", str(plan.spec.source.file), *options])


def _keep_fonts() -> None:
    """Has matplotlib keep its list of fonts with our own cache and not in the home folder."""
    import os

    from trainables.storage.home import home

    os.environ.setdefault("MPLCONFIGDIR", str(home() / "matplotlib"))


@app.command()
def report(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Run folders or URLs, such as runs/methods.")
    ],
    output: Annotated[Path | None, typer.Option(help="Where to; RUN/report by default.")] = None,
) -> None:
    """Write the report again, over one run or several. Prints its path."""
    _keep_fonts()
    from contextlib import ExitStack

    from reports.write import write
    from sweeps.runs import location
    from trainables import results

    # What reports refuse: a folder that is no run, runs that can't be compared, other files in the way.
    with users_errors(FileNotFoundError, ValueError), ExitStack() as copies:
        found = [location.of(run) for run in runs]
        folders = [copies.enter_context(place.copied()) for place in found]
        for run_folder in folders:
            if results.trial_folders(run_folder):
                results.write_tables(run_folder)
        typer.echo(found[0].kept(write(folders, output), folders[0]))


def _answers(run: Path) -> Sequence[Record]:
    """A run's best trials, as its report answers."""
    from reports.best_trials import chosen

    return chosen(run)


def _statistics() -> Statistics:
    from reports import uncertainty

    return uncertainty


commands_plan.add(app, _answers)
for part in (commands_runs, environment):
    app.add_typer(part.app)
chat.add(app, _answers)
evaluate.add(app, _answers, _statistics)
export.add(app, _answers, _statistics)
serve.add(app, _answers)


def main() -> None:
    """The ``paretune`` command."""
    app()


if __name__ == "__main__":
    main()
