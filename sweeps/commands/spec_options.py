"""What the commands that take a spec share: their arguments, and the plan that is made of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from sweeps.planning.plan import Plan
    from sweeps.runs.artifacts import Answers
    from sweeps.runs.earlier_results import Earlier
    from sweeps.spec.spec import Spec

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="A spec's path, or the name of a shipped one.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a leaf: train.steps=2")
]
StageOption = Annotated[str | None, typer.Option(help="Only this stage: a name, a cell's part, or a kind.")]
MethodOption = Annotated[str | None, typer.Option(help="Only this method: a name, a cell's part, or a kind.")]


def planned(spec: str, sets: list[str] | None, answers: Answers, fetch: bool = False, **filters: Any) -> Plan:
    """The plan of a spec by itself, whatever runs there are of it."""
    from sweeps.runs.earlier_results import Earlier
    from sweeps.spec.spec import read

    return make(read(spec, sets or ()), Earlier(answers), fetch, **filters)


def make(spec: Spec, earlier: Earlier, fetch: bool, **filters: Any) -> Plan:
    from sweeps.console import loading_progress
    from sweeps.planning import plan

    with loading_progress.shown():
        return plan.make(spec, fetch=fetch, earlier=earlier, **filters)


def refuse(made: Plan, warn: bool = True) -> None:
    """Stops before anything is spent when the plan holds errors; warnings are shown and passed."""
    from sweeps.spec.problems import SpecError

    for warning in made.warnings if warn else ():
        print(f"warning: {warning}", file=sys.stderr)
    if made.errors:
        raise SpecError(*made.errors)
