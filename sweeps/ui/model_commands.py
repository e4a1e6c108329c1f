"""What the pages Evaluate and Export share: a form, from a command's options, that starts the command as a job."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typer import Typer

from sweeps.ui.children.command_line import WrongArgument, operand
from sweeps.ui.command_form import CommandForm, WrongValue, command_form
from sweeps.ui.context import Ui, ui_of
from sweeps.ui.model_choices import WrongChoice
from sweeps.ui.option_choices import CHOICES
from sweeps.ui.refusal import refused
from sweeps.ui.rendering import page
from sweeps.ui.request_body import read_json
from sweeps.ui.roots import OutsideRoot

Values = dict[str, Any]


@dataclass(frozen=True)
class Prepared:
    """A command that a page asks for: its options as a form has them, its operands, and what people call the job."""

    options: Mapping[str, Any]
    operands: Sequence[str]
    title: str


@cache
def form_of(commands: Typer, name: str) -> CommandForm:
    """The form of a command, read once."""
    return command_form(commands, name)


def command_page(
    request: Request, command: str, title: str, groups: Mapping[str, Sequence[str]], words: Sequence[str]
) -> Response:
    """The page with a command's form. ``groups``: the names of its fields, by the group that they are shown in."""
    ui = ui_of(request)
    fields = form_of(ui.commands, command).fields
    return page(
        request,
        f"{command}.html",
        title=title,
        active=command,
        words=words,
        groups={name: [fields[each] for each in names] for name, names in groups.items()},
        choices=CHOICES,
        data_folder=ui.settings.data_folder,
    )


async def start_command(
    request: Request, command: str, prepare: Callable[[Ui, Values], Prepared]
) -> Response:
    """Starts a command as a job. What a person gave wrong is answered with its field and a sentence."""
    ui, values = ui_of(request), await read_json(request)

    def start() -> str:
        prepared = prepare(ui, values)
        options = form_of(ui.commands, command).arguments(prepared.options)
        operands = [operand(each) for each in prepared.operands]
        argv = [command, "--events", *options, "--", *operands]
        job_id: str = ui.jobs.start(command, argv, ui.settings.data_folder, title=prepared.title).id
        return job_id

    try:
        job = await asyncio.to_thread(start)
    except WrongValue as error:
        return refused(400, error.name, str(error))
    except (WrongChoice, OutsideRoot, WrongArgument) as error:
        return refused(400, "model" if isinstance(error, WrongChoice) else "path", str(error))
    return JSONResponse({"ok": True, "job": job})


def options_in(values: Values) -> Values:
    """The options in a request's body."""
    options = values.get("options")
    return dict(options) if isinstance(options, dict) else {}
