"""What the commands that use a trained model share: their arguments, and finding the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sweeps.runs.artifacts import BestTrials
    from trainables.inference.result import Result

RESULT_HELP = (
    "Model to use: RUN (its best trial), RUN:CELL, RUN:TRIAL, RUN:TRIAL@STEP, the folder of a trial or a model, "
    "an artifact of W&B (wandb:ENTITY/PROJECT/ARTIFACT:VERSION), or the name of a base model."
)
ResultArgument = Annotated[str, typer.Argument(metavar="RESULT", help=RESULT_HELP)]
TemplateOption = Annotated[
    str | None,
    typer.Option(help="Chat template to use for a base model that has none: chatml, llama3, ..."),
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="WHAT",
        help="Allow what could run arbitrary code: remote_code (a model's own Python code), pickle (weights in pickle "
        "files) or method_code (the code of a trial's method, kind: module:Class). May be repeated.",
    ),
]


def text_generators(
    names: Sequence[str], best_trials: BestTrials, template: str | None, trust: Sequence[str] | None
) -> list[Result]:
    """The models of these names. Raises ``ModelError`` for one that is missing, or that generates no text."""
    from sweeps.runs.resolve import resolve

    return [resolve(name, best_trials, trust or (), template).require_text_generation() for name in names]


def served_results(
    names: Sequence[str], best_trials: BestTrials, template: str | None, trust: Sequence[str] | None
) -> list[Result]:
    """The same, of classifiers, too, which answer with labels."""
    from sweeps.runs.resolve import resolve

    found = [resolve(name, best_trials, trust or (), template) for name in names]
    return [each if each.classifies else each.require_text_generation() for each in found]
