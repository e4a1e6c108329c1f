"""What a form shows of a text: its values and their lines, or where it can't be read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from sweeps.planning.problem_json import problems_json
from sweeps.spec import shorthand
from sweeps.spec.key_path import format_path
from sweeps.spec.problems import SpecError
from sweeps.spec.source import explain_yaml_error, parse
from sweeps.ui.drafts import yaml_nodes


def form_state(text: str, folder: Path) -> dict[str, Any]:
    """``tree``, the values with short forms written out, and ``lines``, that of each path; or ``unreadable``.

    ``problems`` are those with the spec's shape: they and their corrections are known at once, before a plan is made.
    """
    from sweeps.spec.spec import from_source  # takes a second: the UI is ready before

    try:
        if yaml_nodes.root(text) is None:
            return {"tree": {}, "lines": {}, "unreadable": None, "problems": []}
        written = shorthand.expanded(parse(folder / "spec.yaml", text))
    except SpecError as error:
        problem = error.problems[0]
        return _unreadable(problem.line or 1, problem.what)
    except YAMLError as error:
        return _unreadable(*explain_yaml_error(error))
    lines = {format_path(path): line for path, line in written.lines.items()}
    problems = problems_json(written, from_source(written).problems)
    return {"tree": _json(written.tree), "lines": lines, "unreadable": None, "problems": problems}


def _unreadable(line: int, message: str) -> dict[str, Any]:
    at = {"line": line, "message": str(message)}
    return {
        "tree": None,
        "lines": {},
        "unreadable": at,
        "problems": [{**at, "path": "", "severity": "error", "fix": None}],
    }


def _json(value: Any) -> Any:
    """Values that JSON has; infinity and what isn't a number as texts."""
    if isinstance(value, dict):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
