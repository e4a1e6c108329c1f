"""Options and help panels that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

# The panels of `paretune --help`, each named for when its commands are needed.
PREPARE = "Before a sweep"
RUN = "Run and follow a sweep"
USE = "Use a trained model"

EventsOption = Annotated[
    bool | None,
    typer.Option(
        "--json/--events",
        help="Print the result as JSON, or progress, warnings and the result as lines of JSON, for other programs.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs to read.")]
