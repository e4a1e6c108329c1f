"""The command line: the one place where trials, sweeps and reports meet.

Imports sit inside the commands, so that ``paretune --help`` costs nothing.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps import chat_command, evaluate_command, export_command, serve_command
from sweeps.mistakes import FAILED, INTERRUPTED, WRONG, Debug, ended_like_by_ctrl_c, users_errors

if TYPE_CHECKING:
    from sweeps.compared import Statistics
    from sweeps.fleet import Fleet
    from sweeps.places import Place
    from sweeps.plan import Plan
    from sweeps.spec import Spec
    from sweeps.tracking import Tracker
    from trainables.results import Record

app = typer.Typer(
    name="paretune",
    help="Which fine-tuning method, with which settings, is worth its memory?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="A spec's path, or the name of a shipped one.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a leaf: train.steps=2")
]
StageOption = Annotated[str | None, typer.Option(help="Only this stage: a name, a cell's part, or a kind.")]
MethodOption = Annotated[str | None, typer.Option(help="Only this method: a name, a cell's part, or a kind.")]


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
        plan = _plan(spec, sets, fetch=True, here=address is None)
        _refuse(plan)
        from sweeps import folder, hosts, launch, places
        from sweeps.tracking import Tracker

        if address is None:
            launch.refuse_too_large(plan)
        place = places.at(output, plan.spec.name)
        tracker = Tracker(plan, place.folder)  # refuses what it can't do before anything is written
        places.refuse_here(place)
        if address is not None and (detach or not resume):
            hosts.refuse(plan, place.output, address)
        if detach:
            _detach(plan, place, address, resume, force)
            return
        with place.held(resume), ended_like_by_ctrl_c():
            folder.prepare(plan, place.folder, resume, place.shown)
            code = _carry_out(plan, place, address, tracker, resume, force)
    raise typer.Exit(code)


def _detach(plan: Plan, place: Place, address: str | None, resume: bool, force: bool) -> None:
    """Has a driver of its own go on from here, once all that a user can have got wrong was looked at."""
    from sweeps import detach
    from sweeps.orders import Orders

    place.check(plan, resume)
    try:
        driver = detach.begin(place.folder, Orders.of(plan, place.output, address, resume, force))
    except detach.NotBegun as error:
        print(error, file=sys.stderr)
        raise typer.Exit(error.code) from None
    typer.echo(f"{plan.spec.name} runs as {driver}. To follow it, and to end it:")
    for command in ("status", "logs", "stop"):
        typer.echo(f"  paretune {command} {shlex.quote(place.shown)}")


@app.command(hidden=True)
def drive(orders: Annotated[Path, typer.Argument(metavar="RUN/ORDERS")]) -> None:
    """Carry out what ``run --detach`` asked for, in a process of its own whose output is the run's driver.log."""
    from sweeps import detach

    with detach.logged(), users_errors():
        raise typer.Exit(_drive(orders))


def _drive(path: Path) -> int:
    from sweeps import folder, places
    from sweeps.orders import Orders
    from sweeps.tracking import Tracker

    orders = Orders.read(path)
    orders.take_on()
    plan = _make(orders.spec(), fetch=True, here=orders.address is None)
    _refuse(plan)
    place = places.at(orders.output, plan.spec.name)
    tracker = Tracker(plan, place.folder)
    with place.held(orders.resume), ended_like_by_ctrl_c():
        folder.prepare(plan, place.folder, orders.resume, place.shown)
        path.unlink()  # who waits for that may go now
        return _carry_out(plan, place, orders.address, tracker, orders.resume, orders.force)


def _carry_out(
    plan: Plan, place: Place, address: str | None, tracker: Tracker, resume: bool, force: bool
) -> int:
    _keep_fonts()
    from reports.write import write
    from sweeps import launch
    from sweeps.progress import Progress
    from trainables.storage import StorageError

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

    from trainables.model_folder import home

    os.environ.setdefault("MPLCONFIGDIR", str(home() / "matplotlib"))


@app.command()
def plan(
    spec: Annotated[
        str | None, typer.Argument(metavar="[SPEC]", help="A spec's path, or a shipped one's name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    stage: StageOption = None,
    method: MethodOption = None,
    sets: SetOption = None,
    memory: Annotated[str | None, typer.Option(help="Say what fits in so much: 24GiB.")] = None,
    model: Annotated[
        str | None, typer.Option(help="With --grid: a model's name, hub id or config.json.")
    ] = None,
    grid: Annotated[
        bool, typer.Option("--grid", help="The memory of every method on --model; no SPEC.")
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Of the grid, in rows.")] = 1,
    cutoff: Annotated[int, typer.Option(min=1, help="Of the grid, in tokens a row.")] = 2048,
) -> None:
    """Show the cells, the trials, and every problem found, without Ray and without training.

    paretune plan --model qwen3-8b --grid shows what each method would take of a model.
    """
    with users_errors(ValueError):
        from sweeps.amounts import parse_bytes

        room = parse_bytes(memory) if memory else None
        if grid or model:
            _grid(model, spec, grid, batch_size, cutoff, room, as_json)
            return
        if spec is None:
            raise ValueError("give a SPEC, or --model NAME --grid")
    with users_errors():
        made = _plan(spec, sets, stage=stage, method=method)
    room = room or made.memory
    if as_json:
        import json

        typer.echo(json.dumps(made.to_json(room), indent=2, ensure_ascii=False))
    else:
        _show(made, room)
    raise typer.Exit(WRONG if made.errors else 0)


def _grid(
    model: str | None, spec: str | None, grid: bool, batch: int, tokens: int, room: int | None, as_json: bool
) -> None:
    if model is None or not grid or spec is not None:
        raise ValueError("--model and --grid go together, and without a SPEC: plan --model qwen3-8b --grid")
    from sweeps import grid as grids

    rows = list(grids.rows(model, batch, tokens))
    if as_json:
        import json

        typer.echo(json.dumps([row.to_json() for row in rows], indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from sweeps.show import grid_table

    print(f"{model}: SFT of {batch} x {tokens} tokens on a GPU, bf16, AdamW; GiB, foretold")
    Console().print(grid_table(rows, room))


@app.command()
def data(
    spec: SpecArgument,
    stage: StageOption = None,
    method: MethodOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    sets: SetOption = None,
) -> None:
    """Show what the models will see: counts, lengths, rows with the loss marked, and what is wrong with which row."""
    with users_errors():
        made = _plan(spec, sets, stage=stage, method=method, fetch=True)
        _refuse(made, warn=False)  # the rows' warnings are part of what is shown
        _look(made, as_json)


def _look(made: Plan, as_json: bool) -> None:
    import json

    from trainables import noise

    noise.silence()
    from rich.console import Console

    from sweeps import looking, preparing

    with preparing.shown():
        found = list(looking.looks(made))
    if as_json:
        typer.echo(json.dumps([looking.to_json(*each) for each in found], indent=2, ensure_ascii=False))
        return
    for each in found:
        looking.show(*each, Console())


@app.command(name="try")
def try_(
    spec: SpecArgument,
    stage: StageOption = None,
    method: MethodOption = None,
    output: Annotated[Path, typer.Option(help="The trial goes to OUTPUT/NAME-try.")] = Path("runs"),
    sets: SetOption = None,
) -> None:
    """Run one trial in this process, with no Ray: the debugger's door. What it goes on from is run first.

    --method base scores what the stage's first method would start from.
    """
    from sweeps.entries import BASE

    untrained = method == BASE
    with users_errors():
        made = _plan(spec, sets, stage=stage, method=None if untrained else method, fetch=True)
        _refuse(made)
    code = _try(made, output, untrained)
    raise typer.Exit(code)


def _try(made: Plan, output: Path, untrained: bool) -> int:
    from trainables import noise

    noise.silence()
    from sweeps.progress import describe
    from sweeps.tried import one

    run_folder = (output / f"{made.spec.name}-try").resolve()
    say = partial(print, file=sys.stderr)
    record = one(made, made.asked[0], run_folder, say, untrained)
    print(describe(record))
    print(run_folder / "trials" / record.trial_id / "record.json")
    return FAILED if record.status == "failed" else 0


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
    from sweeps import places
    from trainables import results

    # What reports refuse: a folder that is no run, runs that can't be compared, other files in the way.
    with users_errors(FileNotFoundError, ValueError), ExitStack() as copies:
        found = [places.of(run) for run in runs]
        folders = [copies.enter_context(place.copied()) for place in found]
        for run_folder in folders:
            if results.trial_folders(run_folder):
                results.write_tables(run_folder)
        typer.echo(found[0].kept(write(folders, output), folders[0]))


RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder or URL, such as runs/methods.")
]


@app.command()
def status(
    run: RunArgument,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Say what a run is doing: trials done and left, the best so far, what is in training, and where it runs."""
    from sweeps import places
    from sweeps import status as state

    with users_errors(ValueError, OSError):
        found = places.of(run).look()
    if as_json:
        import json

        typer.echo(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    Console().print(state.table(found))
    typer.echo(state.summary(found))


@app.command()
def logs(
    run: RunArgument,
    trial: Annotated[str | None, typer.Argument(help="A trial's id, or how it begins.")] = None,
) -> None:
    """Print a run's log, or what is known of one trial: its last steps, its error."""
    from sweeps import places
    from sweeps import status as state

    with users_errors(ValueError, OSError):
        place = places.of(run)
        with place.copied(places.tells_of_it) as run_folder:
            for line in state.log(run_folder, trial, place.shown):
                typer.echo(line)


@app.command()
def stop(
    run: RunArgument,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 60,
) -> None:
    """End a run as Ctrl-C would, from any machine that has its folder: trials save themselves, --resume goes on."""
    import time

    from sweeps import places
    from sweeps import status as state

    with users_errors(ValueError, OSError):
        place = places.of(run)
        found = place.look()
        if found.holder is None:
            raise ValueError(f"{run}: nobody runs it; it is {found.word}")
        place.ask_to_stop()
        until = time.monotonic() + wait
        while (holder := place.holder()) and time.monotonic() < until:
            time.sleep(0.2)
        if holder:
            typer.echo(f"asked, and not ended after {wait:g} s: {holder}", err=True)
            raise typer.Exit(FAILED)
        typer.echo(f"stopped; {state.to_go(place.look())}")


def _answers(run: Path) -> Sequence[Record]:
    """A run's best trials, as its report answers."""
    from reports.chosen import chosen

    return chosen(run)


def _statistics() -> Statistics:
    from reports import uncertainty

    return uncertainty


chat_command.add(app, _answers)
evaluate_command.add(app, _answers, _statistics)
export_command.add(app, _answers, _statistics)
serve_command.add(app, _answers)


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(help="A base model: smollm2-135m, hf:ORG/NAME, ...; or data: hf:datasets/ORG/NAME."),
    ],
) -> None:
    """Bring a base model, or a data set, into the local cache. Prints its folder."""
    from trainables import models
    from trainables.data.hubs import DataHub

    with users_errors():
        is_data = name.partition(":")[2].startswith("datasets/")
        typer.echo(DataHub.parse(name).fetch() if is_data else models.fetch(name))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    address: Annotated[
        str | None, typer.Option(help="Every node of a Ray cluster: auto, or HOST:PORT.")
    ] = None,
    output: Annotated[
        str, typer.Option(help="Where runs are to go, to be looked at too: a path, s3://, gs://, ...")
    ] = "runs",
) -> None:
    """Say what this machine can do, or every node of a cluster, and what is missing.

    Ends with 1 where something that is needed is missing, or where nodes differ in what must be the same.
    """
    from sweeps import doctor as doctors

    found = doctors.examine(output) if address is None else _rounds(address, output)
    if as_json:
        typer.echo(found.to_json())
    else:
        from rich.console import Console

        Console().print(found.table())
        typer.echo(found.verdict())
    raise typer.Exit(found.exit_code)


def _rounds(address: str, output: str) -> Fleet:
    with users_errors():
        from sweeps import rounds
        from trainables.urls import is_url

        return rounds.examine(address, output if is_url(output) else str(Path(output).resolve()))


def _plan(spec: str, sets: list[str] | None, fetch: bool = False, **filters: Any) -> Plan:
    from sweeps.spec import read

    return _make(read(spec, sets or ()), fetch, **filters)


def _make(spec: Spec, fetch: bool, **filters: Any) -> Plan:
    from sweeps import preparing
    from sweeps.plan import make

    with preparing.shown():
        return make(spec, fetch=fetch, **filters)


def _refuse(made: Plan, warn: bool = True) -> None:
    """Stops before anything is spent when the plan holds errors; warnings are shown and passed."""
    from sweeps.problems import SpecError

    for warning in made.warnings if warn else ():
        print(f"warning: {warning}", file=sys.stderr)
    if made.errors:
        raise SpecError(*made.errors)


def _show(made: Plan, room: int | None = None) -> None:
    from rich.console import Console

    from sweeps.show import show_plan

    show_plan(made, Console())
    for found in made.fits(room):
        print(found)
    for cell in made.cells if room else ():
        if cell.predicted is None:
            print(f"{cell.name}: what it takes isn't foretold, so it may fit or not")
    for problem in made.problems:
        print(f"{'error' if problem.error else 'warning'}: {problem}", file=sys.stderr)


def main() -> None:
    """The ``paretune`` command."""
    app()


if __name__ == "__main__":
    main()
