"""Options and help panels that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

# The panels of `paretune --help`, each named for when its commands are needed.
PREPARE = "Before a sweep"
RUN = "Run and follow a sweep"
USE = "Use a trained model"

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs to read.")]
