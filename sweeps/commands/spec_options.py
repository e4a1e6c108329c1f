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
SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help=SPEC_HELP)]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Override a setting of the spec: train.steps=2. May be repeated. Files: relative to the working folder.",
    ),
]
StageOption = Annotated[
    str | None, typer.Option(help="Only cells of this stage: its name, part of it, or its kind.")
]
MethodOption = Annotated[
    str | None, typer.Option(help="Only cells of this method: its name, part of it, or its kind.")
]


def plan_spec(
    spec: str, sets: list[str] | None, best_trials: BestTrials, fetch: bool = False, **filters: Any
) -> Plan:
    """Reads and plans a spec, independently of any run of it. Raises ``SpecError``."""
    from sweeps.runs.earlier_results import EarlierResults

    return make_plan(read_spec(spec, sets), EarlierResults(best_trials), fetch, **filters)


def read_spec(spec: str, sets: list[str] | None) -> Spec:
    """Reads a spec. Raises ``SpecError``; for a configuration of another tool it proposes ``init``."""
    from sweeps.drafting.foreign import refuse_foreign
    from sweeps.spec.spec import read

    refuse_foreign(spec)
    return read(spec, sets or ())


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
