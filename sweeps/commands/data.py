"""``paretune data``: what models see of the data of a spec, or of data that is named without one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import PREPARE, JsonOption
from sweeps.commands.errors import users_errors
from sweeps.commands.json_output import print_json
from sweeps.commands.spec_options import (
    STDIN,
    BaseOption,
    SetOption,
    StageOption,
    plan_spec,
    refuse_errors,
)

if TYPE_CHECKING:
    from sweeps.console.row_pages import Page
    from sweeps.drafting.data_target import DataTarget
    from sweeps.runs.artifacts import BestTrials
    from trainables.data.converted_rows import UncutData
    from trainables.data.loading import Data
    from trainables.trial.config import TrialConfig
    from trainables.trial.preview import DataPreview

MAX_PAGE = 1000  # rows of one page


def add(app: typer.Typer, best_trials: BestTrials) -> None:
    """Adds the command to an app."""

    @app.command(rich_help_panel=PREPARE)
    def data(
        target: Annotated[
            str,
            typer.Argument(
                metavar="SPEC|DATA",
                help="A spec, as for plan; or a file, a folder, a pattern or the name of a data set.",
            ),
        ],
        stage: StageOption = None,
        method: Annotated[
            str | None, typer.Option(help="Only cells of this method: its name, part of it, or its kind.")
        ] = None,
        model: Annotated[
            str | None,
            typer.Option(
                help="Model whose tokens are counted: its name, its id on the Hugging Face hub, or its folder."
            ),
        ] = None,
        template: Annotated[
            str | None, typer.Option(help="Chat template, instead of the model's own: chatml, llama3, ...")
        ] = None,
        as_json: JsonOption = False,
        sets: SetOption = None,
        base: BaseOption = None,
        rows_from: Annotated[
            int | None,
            typer.Option(
                min=0, help="With --json: rows from this number on, counted from 0, instead of a summary."
            ),
        ] = None,
        rows: Annotated[int, typer.Option(min=1, max=MAX_PAGE, help="Number of rows for --rows-from.")] = 20,
        part: Annotated[
            str, typer.Option(help="Part of the data for --rows-from: training, validation or test.")
        ] = "training",
    ) -> None:
        """Show the data as the models will see it: counts, lengths, problems, and rows with their loss marked.

        Without a SPEC and without --model, lengths are in characters: paretune data rows.jsonl
        """
        from sweeps.cluster.private_folder import private_temporary_files
        from sweeps.spec.problems import Problem, SpecError

        with users_errors(), private_temporary_files():
            from sweeps.drafting.data_target import is_spec

            page = _page(rows_from, rows, part, as_json)
            if target == STDIN or is_spec(target):
                sets = [*(sets or []), *_as_sets(model, template)]
                made = plan_spec(
                    target,
                    sets,
                    best_trials,
                    fetch=True,
                    base=base,
                    stage=stage,
                    method=method,
                    one_trial=True,
                )
                refuse_errors(made, warn=False)  # the preview has the warnings about rows
                from sweeps.console.data_preview import distinct_configs, previews

                if page is not None:
                    _print_pages(distinct_configs(made), page)
                    return
                _show_previews(lambda: previews(made), as_json)
                return
            if method is not None:
                raise SpecError(Problem("--method", "", "data has no methods without a spec; leave it out"))
            _show_target(target, stage, model, template, sets or [], as_json, page)


def _page(start: int | None, count: int, part: str, as_json: bool) -> Page | None:
    """The page of rows that is asked for; ``None`` for a summary."""
    from sweeps.console.row_pages import PARTS, Page
    from sweeps.spec.problems import Problem, SpecError
    from trainables.system.suggestions import did_you_mean

    chosen = next((each for each in PARTS if each == part), None)
    if chosen is None:
        what = f"there is no part {part!r}; choose from {', '.join(PARTS)}{did_you_mean(part, PARTS)}"
        raise SpecError(Problem("--part", "", what))
    if start is None:
        return None
    if not as_json:
        raise SpecError(Problem("--rows-from", "", "pages of rows are JSON: add --json"))
    return Page(start, count, chosen)


def _print_pages(configs: Iterable[TrialConfig], page: Page) -> None:
    from sweeps.console.row_pages import encoded_page

    print_json([encoded_page(config, page) for config in configs])


def _as_sets(model: str | None, template: str | None) -> list[str]:
    """The options as settings of a spec."""
    from sweeps.drafting.data_target import model_setting

    given = [f"model={json.dumps(model_setting(model))}"] if model is not None else []
    return given + ([f"data.template={template}"] if template is not None else [])


def _show_target(
    name: str,
    stage: str | None,
    model: str | None,
    template: str | None,
    sets: list[str],
    as_json: bool,
    page: Page | None,
) -> None:
    from sweeps.drafting.data_target import data_target, preview_config, stage_class
    from sweeps.drafting.from_data import with_proposed_share
    from trainables.data.description import STAGES
    from trainables.data.row_kind import detect_row_type
    from trainables.data.rows import Conversation

    target = data_target(name, model, template, sets)
    row_type = stage_class(stage).row_type if stage is not None else None
    kind = row_type or detect_row_type(target.data) or Conversation
    target = with_proposed_share(target, kind)
    if target.model is None:
        if page is None:
            _show_description(target, row_type, as_json)
        else:
            _print_plain_page(target, kind, page)
        return
    for note in target.notes():
        print(note, file=sys.stderr)
    from trainables.trial.preview import preview_data

    config = preview_config(target, stage or STAGES.get(kind, "ppo"))
    if page is not None:
        _print_pages([config], page)
        return
    _show_previews(lambda: [(config, preview_data(config))], as_json)


def _print_plain_page(target: DataTarget, kind: type, page: Page) -> None:
    from sweeps.console.row_pages import plain_page
    from trainables.data.converted_rows import load_uncut
    from trainables.data.description import STAGES
    from trainables.data.errors import DataError
    from trainables.data.loading import load

    problems: list[str] = []
    try:
        data: Data | UncutData = load(target.data, kind)
    except DataError as error:  # as too few rows can be held out
        data, problems = load_uncut(target.data, kind), [str(error)]
    tree = plain_page(data, STAGES.get(kind), page)
    tree["notes"] += target.notes()
    tree["problems"] += problems
    print_json([tree])


def _show_description(target: DataTarget, row_type: type | None, as_json: bool) -> None:
    from sweeps.console import data_description, loading_progress
    from sweeps.console.guarded_console import GuardedConsole
    from trainables.data.description import describe

    with loading_progress.display():
        found = describe(target.data, row_type)
    notes = list(target.notes())
    if as_json:
        tree = data_description.description_json(found)
        tree["notes"] += notes
        print_json([tree])
        return
    data_description.show_description(found, GuardedConsole(), notes)


def _show_previews(make: Callable[[], Iterable[tuple[TrialConfig, DataPreview]]], as_json: bool) -> None:
    from sweeps.console import data_preview, loading_progress
    from sweeps.console.guarded_console import GuardedConsole

    with loading_progress.display():
        previews = list(make())
    if as_json:
        print_json([data_preview.to_json(config, preview) for config, preview in previews])
        return
    for config, preview in previews:
        data_preview.show_preview(config, preview, GuardedConsole())
