"""What the commands that ask for a result share: its argument, and how it is found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sweeps.runs.artifacts import Answers
    from trainables.inference.result import Result

NAMES = "RUN, RUN:CELL, RUN:TRIAL, RUN:TRIAL@STEP, a folder, or a base model's name."
ResultArgument = Annotated[str, typer.Argument(metavar="RESULT", help=NAMES)]
ResultsArgument = Annotated[list[str], typer.Argument(metavar="RESULT...", help=NAMES)]
TemplateOption = Annotated[
    str | None, typer.Option(help="The chat template of a base model that has none: chatml, llama3, ...")
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="WHAT",
        help="remote_code or pickle: what a base model may do here that could run any code.",
    ),
]


def speakers(
    texts: Sequence[str], answers: Answers, template: str | None, trust: Sequence[str] | None
) -> list[Result]:
    """What these names mean; raises ``ModelError`` for one that isn't there, or that is no model which speaks."""
    from trainables.system import quiet

    quiet.silence()
    from sweeps.runs.resolve import resolve

    return [resolve(text, answers, trust or (), template).require_text_generation() for text in texts]
