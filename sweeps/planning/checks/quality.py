"""By what a cell's answers are judged (``data.quality``): a measure that suits its data, or the user's own function."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeps.planning.conventions import Conventions
from sweeps.planning.draft import Draft
from sweeps.spec.problems import Problem
from sweeps.spec.tree import node_at
from trainables.config.data import QUALITIES
from trainables.data import short_answers
from trainables.data.loading import Data
from trainables.data.rows import Conversation
from trainables.storage import files
from trainables.trial.config import TrialConfig

QUALITY = ("data", "quality")


def set_quality(
    draft: Draft, tree: dict[str, Any], data: Data | None, conventions: Conventions
) -> list[Problem]:
    """Puts what a cell is judged by into its tree: by the rule for short answers where the spec leaves it open.

    A function of the user's is looked for and not run; problems say where it is missing.
    """
    settings, stage = tree.get("data"), tree.get("stage")
    if not isinstance(settings, dict) or not isinstance(stage, dict) or stage.get("kind") != "sft":
        return []
    quality = settings.get("quality")
    if "quality" not in settings:
        # What suits the test rows need not suit another set: each has the rule for short answers of its own.
        for each in data.sets if data is not None and conventions.by_length else ():
            if each.row_type is Conversation:
                short = each.exact or short_answers.are_short(each.rows[: short_answers.LOOKED_AT])
                settings["planned_sets"][each.name]["quality"] = "exact_match" if short else "loss"
        if (
            conventions.by_length
            and data is not None
            and not data.exact
            and short_answers.are_short(_held_out(data))
        ):
            settings["quality"] = "exact_match"
        return []
    if not isinstance(quality, str) or quality in QUALITIES or ":" not in quality:
        return []
    what = _function_problem(quality, settings.get("quality_file"))
    if what is not None:
        return [draft.problem(QUALITY, what)]
    if settings.get("quality_file") is not None:
        settings["quality_sha256"] = files.file_sha256(Path(settings["quality_file"]))
    return []


def quality_notes(draft: Draft, config: TrialConfig, data: Data) -> Iterator[str]:
    """Why answers are judged by exact match where the spec does not say it."""
    if config.data.quality == "exact_match" and node_at(draft.parts, QUALITY) is None:
        share = short_answers.share_of_short_answers(_held_out(data))
        yield (
            f"data {data.name}: {share:.0%} of the held-out answers have at most {short_answers.SHORT_CHARACTERS} "
            "characters on one line, so that quality is exact match (data.quality: another measure)"
        )


def _held_out(data: Data) -> list[Any]:
    half = short_answers.LOOKED_AT // 2
    return [*data.validation[:half], *data.test[:half]]


def _function_problem(quality: str, file: str | None) -> str | None:
    """Why a function can't be found; ``None`` where it can, as far as that is known without running its module."""
    module, _, name = quality.partition(":")
    if file is None:
        # The first part alone: Python imports a package to look for what is in it.
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            return f"there is no module {module} beside the spec, and none of that name is installed"
        return None
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (SyntaxError, ValueError) as error:
        return f"{Path(file).name} is no Python: {error}"
    if name not in _names(tree):
        return f"{Path(file).name} defines no function {name}"
    return None


def _names(tree: ast.Module) -> set[str]:
    """The names that a module defines at its top, or imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
    return found
