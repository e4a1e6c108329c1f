"""``paretune data``: what models see of the data of a spec, or of data that is named without one."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import PREPARE, JsonOption
from sweeps.commands.errors import users_errors
from sweeps.commands.spec_options import SetOption, StageOption, plan_spec, refuse_errors

if TYPE_CHECKING:
    from sweeps.drafting.data_target import DataTarget
    from sweeps.runs.artifacts import BestTrials
    from trainables.trial.config import TrialConfig
    from trainables.trial.preview import DataPreview


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
    ) -> None:
        """Show the data as the models will see it: counts, lengths, problems, and rows with their loss marked.

        Without a SPEC and without --model, lengths are in characters: paretune data rows.jsonl
        """
        from sweeps.cluster.private_folder import private_temporary_files
        from sweeps.spec.problems import Problem, SpecError

        with users_errors(), private_temporary_files():
            from sweeps.drafting.data_target import is_spec

            if is_spec(target):
                sets = [*(sets or []), *_as_sets(model, template)]
                made = plan_spec(
                    target, sets, best_trials, stage=stage, method=method, fetch=True, one_trial=True
                )
                refuse_errors(made, warn=False)  # the preview has the warnings about rows
                from sweeps.console.data_preview import previews

                _show_previews(lambda: previews(made), as_json)
                return
            if method is not None:
                raise SpecError(Problem("--method", "", "data has no methods without a spec; leave it out"))
            _show_target(target, stage, model, template, sets or [], as_json)


def _as_sets(model: str | None, template: str | None) -> list[str]:
    """The options as settings of a spec."""
    from sweeps.drafting.data_target import model_setting

    given = [f"model={json.dumps(model_setting(model))}"] if model is not None else []
    return given + ([f"data.template={template}"] if template is not None else [])


def _show_target(
    name: str, stage: str | None, model: str | None, template: str | None, sets: list[str], as_json: bool
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
        _show_description(target, row_type, as_json)
        return
    for note in target.notes():
        print(note, file=sys.stderr)
    from trainables.trial.preview import preview_data

    config = preview_config(target, stage or STAGES.get(kind, "ppo"))
    _show_previews(lambda: [(config, preview_data(config))], as_json)


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
        typer.echo(json.dumps([tree], indent=2, ensure_ascii=False))
        return
    data_description.show_description(found, GuardedConsole(), notes)


def _show_previews(make: Callable[[], Iterable[tuple[TrialConfig, DataPreview]]], as_json: bool) -> None:
    from sweeps.console import data_preview, loading_progress
    from sweeps.console.guarded_console import GuardedConsole

    with loading_progress.display():
        previews = list(make())
    if as_json:
        trees = [data_preview.to_json(config, preview) for config, preview in previews]
        typer.echo(json.dumps(trees, indent=2, ensure_ascii=False))
        return
    for config, preview in previews:
        data_preview.show_preview(config, preview, GuardedConsole())
