"""The command line: the one place where trials, sweeps and reports meet.

``sweeps.commands`` has the commands; what they need of ``reports`` is handed to them here. Most imports are inside
functions, so that ``paretune --help`` is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import (
    add,
    chat,
    data,
    environment,
    evaluate,
    export,
    init,
    monitor,
    plan,
    report,
    run,
    serve,
    settle,
    stop,
    studies,
    ui,
    wandb,
)
from sweeps.commands.errors import Debug
from trainables.system import quiet, shown_text

if TYPE_CHECKING:
    from sweeps.commands.final_report import ReportWriter
    from sweeps.commands.report import ReportValues
    from sweeps.commands.studies import StoredStudies
    from sweeps.evaluation.significance import Statistics
    from sweeps.execution.settling.settle import Advice
    from sweeps.planning.assessment.power import Detectable
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
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the stack trace of an error in addition to its message.")
    ] = False,
) -> None:
    Debug.on = debug
    quiet.silence()  # before any command imports a library


def best_trials(run_folder: Path) -> Sequence[Record]:
    """The best trials of a run by the rule of its report, the last stage's first."""
    from reports.analysis.recommendation.best_trials import recommended_trials

    return recommended_trials(run_folder)


def _detectable() -> Detectable:
    from reports.statistics.detectable import detectable_difference

    return detectable_difference


def _statistics() -> Statistics:
    from reports.statistics import measure_intervals

    return measure_intervals


def _advice() -> Advice:
    from reports.analysis.further_work import advice

    return advice


def _report_writer() -> ReportWriter:
    import os

    from trainables.storage.home import home

    # Matplotlib's list of fonts belongs in our cache, not in the home folder; it reads this when it is imported.
    os.environ.setdefault("MPLCONFIGDIR", str(home() / "matplotlib"))
    from reports.write import write

    return write


def _report_values() -> ReportValues:
    from reports.values import current_values

    return current_values


def _studies() -> StoredStudies:
    from reports.studies.stored_study import claim_statement, stored_study_values
    from sweeps.commands.studies import StoredStudies

    return StoredStudies(stored_study_values, claim_statement)


# The order of `paretune --help`: what comes before a sweep, what runs and follows one, what uses its models.
environment.add(app)
init.add(app)
data.add(app, best_trials)
plan.add(app, best_trials, _detectable)
studies.add(app, _studies)
run.add(app, best_trials, _report_writer, _advice)
report.add(app, _report_writer, _report_values)
wandb.add(app, _report_writer)
settle.add(app, _advice, _report_writer)
monitor.add(app)
stop.add(app)
add.add(app)
ui.add(app)
chat.add(app, best_trials)
evaluate.add(app, best_trials, _statistics)
export.add(app, best_trials, _statistics)
serve.add(app, best_trials)


def main() -> None:
    """The ``paretune`` command."""
    shown_text.guard_terminals()
    app()


if __name__ == "__main__":
    main()
