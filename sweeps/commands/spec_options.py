"""What the commands that take a spec share: their arguments, and making a plan from them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan
    from sweeps.runs.artifacts import BestTrials
    from sweeps.runs.earlier_results import EarlierResults
    from sweeps.spec.spec import Spec

SPEC_HELP = "Path of a spec file, or the name of a shipped spec, such as methods."
STDIN = "-"  # the SPEC that is read from the standard input
STDIN_HELP = f"{SPEC_HELP} {STDIN}: from standard input."
SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help=SPEC_HELP)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a setting of the spec: train.steps=2. May be repeated. Files: relative to the working folder.",
    ),
]
BaseOption = Annotated[
    Path | None,
    typer.Option(
        help="For a SPEC from standard input: the file that it will be saved in, or the folder that its paths are "
        "relative to, by default the working folder."
    ),
]
StageOption = Annotated[
    str | None, typer.Option(help="Only cells of this stage: its name, part of it, or its kind.")
]
MethodOption = Annotated[
    str | None, typer.Option(help="Only cells of this method: its name, part of it, or its kind.")
]


def plan_spec(
    spec: str,
    sets: list[str] | None,
    best_trials: BestTrials,
    fetch: bool = False,
    base: Path | None = None,
    **filters: Any,
) -> Plan:
    """Reads and plans a spec, independently of any run of it. Raises ``SpecError``."""
    from sweeps.runs.earlier_results import EarlierResults

    return make_plan(read_spec(spec, sets, base), EarlierResults(best_trials), fetch, **filters)


def read_spec(spec: str, sets: list[str] | None, base: Path | None = None) -> Spec:
    """Reads a spec; ``base`` as for ``--base``.

    Raises ``SpecError``; for a configuration of another tool it proposes ``init``.
    """
    from sweeps.spec.problems import Problem, SpecError
    from sweeps.spec.spec import from_text, read

    if spec == STDIN:
        return from_text(_stdin_text(), _stdin_file(base), sets or ())
    if base is not None:
        raise SpecError(Problem("--base", "", f"it needs a spec from standard input: give {STDIN} as SPEC"))
    from sweeps.drafting.foreign import refuse_foreign

    refuse_foreign(spec)
    return read(spec, sets or ())


def _stdin_text() -> str:
    """The standard input, as far as a spec may be long and one character further."""
    from sweeps.spec.problems import Problem, SpecError
    from trainables.config import limits

    try:
        return sys.stdin.read(limits.SPEC_BYTES + 1)
    except UnicodeDecodeError as error:
        raise SpecError(Problem("standard input", "", f"can't be read as text: {error}")) from error


def _stdin_file(base: Path | None) -> Path:
    """The file that a spec from standard input is read as: by its ending, or ``stdin`` in a folder."""
    if base is not None and base.suffix in (".yaml", ".yml") and not base.is_dir():
        return base
    return (base or Path()) / "stdin"


def make_plan(spec: Spec, earlier: EarlierResults, fetch: bool, **filters: Any) -> Plan:
    """Plans a spec and shows the progress of reading its data; ``filters`` as for ``planning.plan.make``."""
    from sweeps.console import loading_progress
    from sweeps.planning import plan as planning

    with loading_progress.display():
        return planning.make(spec, fetch=fetch, earlier=earlier, **filters)


def with_warnings(plan: Plan, output: str) -> Plan:
    """The plan with warnings about what it will be hard to learn anything from, and those of :func:`with_notice`."""
    from dataclasses import replace

    from sweeps.planning.assessment import few_rows

    return with_notice(replace(plan, problems=(*plan.problems, *few_rows.warnings(plan))), output)


def with_memory_warnings(plan: Plan) -> Plan:
    """The plan with warnings about cells whose trials don't fit on this machine's GPUs, or in their shares of one."""
    from dataclasses import replace

    from sweeps.cluster.node_resources import this_machine
    from sweeps.planning.resources.sizes import Sizes
    from sweeps.search import trial_sizes

    on_gpus, machine = tuple(cell for cell in plan.cells if cell.resources.gpus), this_machine()
    if not machine.gpu_bytes:
        return plan
    lines = trial_sizes.warnings(replace(plan, cells=on_gpus), Sizes.for_cells(on_gpus, [machine]))
    found = (plan.spec.source.problem(("resources", "gpus"), line, error=False) for line in lines)
    return replace(plan, problems=(*plan.problems, *found))


def with_notice(plan: Plan, output: str) -> Plan:
    """The plan with warnings about checkpoints that take longer to write than a known notice of the end of all
    processes; where there is one, the speed of the disk that ``output`` is on is measured.
    """
    from dataclasses import replace

    from sweeps.cluster.node_resources import this_machine
    from sweeps.planning.assessment import notice as notices
    from sweeps.search import trial_sizes
    from trainables.storage.urls import is_url
    from trainables.system.disk_speed import checkpoint_speed
    from trainables.system.redaction import redacted

    notice = notices.notice_of(plan.spec.resources)
    if notice is None:
        return plan
    if is_url(output):
        found = notices.upload_problems(plan, notice, redacted(output))
        return replace(plan, problems=(*plan.problems, *found))
    at_once = plan.spec.resources.concurrent or trial_sizes.slots(plan, [this_machine()])
    found = notices.problems(plan, notice, checkpoint_speed(Path(output)), at_once)
    return replace(plan, problems=(*plan.problems, *found))


def refuse_errors(plan: Plan, warn: bool = True) -> None:
    """Raises ``SpecError`` for a plan with errors, after printing its warnings if ``warn``."""
    from sweeps.spec.problems import SpecError

    for warning in plan.warnings if warn else ():
        print(f"warning: {warning}", file=sys.stderr)
    if plan.errors:
        raise SpecError(*plan.errors)
