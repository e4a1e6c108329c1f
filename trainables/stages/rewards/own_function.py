"""A reward by a function of one's own: ``{kind: function, function: my_rewards:brevity}``.

The function is imported by :func:`load` alone, which planning a spec and the processes of its trials call, as methods
of one's own are. A config that is merely read, such as that of somebody else's run, imports nothing.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.data.rows import Message
from trainables.methods.own_code import KIND, OwnCode, OwnMethodError
from trainables.methods.own_imports import import_module
from trainables.methods.own_method import TRUST
from trainables.system.suggestions import did_you_mean

# (prompts, answers, columns) -> rewards: a list of messages, a text and a number for each row; the columns by name.
RewardFunction = Callable[[list[list[Message]], list[str], dict[str, list[Any]]], Sequence[float]]


class RewardError(ValueError):
    """A reward function that fails, or returns what are no rewards: which one, where, and how."""


def split_function(function: str) -> tuple[str, str]:
    """The module and the name of ``module:function``. Raises ``OwnMethodError``."""
    parts = KIND.fullmatch(function)
    if parts is None:
        raise OwnMethodError(f"{function} names no function; write module:function, as in my_rewards:brevity")
    return parts[1], parts[2]


def load(function: str, code: OwnCode | None) -> RewardFunction:
    """Imports ``module:function``, of its ``code`` or as it is installed. Raises ``OwnMethodError``."""
    module, name = split_function(function)
    key = (function, code.sha256 if code is not None else None)
    if key not in _LOADED:
        imported = import_module(module, code)
        loaded = getattr(imported, name, None)
        where = f"{module}, in {code.path}," if code is not None else module
        if not callable(loaded):
            functions = [each for each, value in vars(imported).items() if callable(value)]
            raise OwnMethodError(f"{where} has no function {name}{did_you_mean(name, functions)}")
        _LOADED[key] = loaded
    return _LOADED[key]


def load_beside(function: str, folder: Path) -> dict[str, Any]:
    """Imports a function whose module is in ``folder``, or installed; returns the fields that planning fills in.

    Raises ``OwnMethodError``.
    """
    code = OwnCode.beside(split_function(function)[0], folder)
    load(function, code)
    return {"code_path": str(code.path), "code_sha256": code.sha256} if code is not None else {}


def load_planned(function: str, path: Path | None, sha256: str | None) -> None:
    """Imports the function of a config that was read, for processes that were handed it by the plan's own.

    Raises ``OwnMethodError``, also where the code is no longer what it was when the trial was planned.
    """
    code = OwnCode.read(path) if path is not None else None
    if code is not None and code.sha256 != sha256:
        raise OwnMethodError(
            f"{code.path}, the code of {function}, has changed since this was planned; restore it, or plan again under "
            "another name"
        )
    load(function, code)


def needed(function: str, path: Path | None) -> str:
    """What has to be done for the function to be run."""
    place = str(path) if path is not None else "an installed module"
    return f"its reward {function} is code ({place}), which is run only with --trust {TRUST}"


def is_loaded(function: str, sha256: str | None) -> bool:
    """Whether the function, of code with this hash, was imported in this process."""
    return (function, sha256) in _LOADED


def call(
    function: str,
    path: Path | None,
    sha256: str | None,
    prompts: list[list[Message]],
    answers: list[str],
    columns: Mapping[str, list[Any]],
) -> list[float]:
    """The rewards of the answers, one a row: (rows,). Raises :class:`RewardError`."""
    loaded = _LOADED.get((function, sha256))
    if loaded is None:
        raise RewardError(needed(function, path))
    try:
        rewards = [float(reward) for reward in loaded(prompts, answers, dict(columns))]
    except (Exception, SystemExit) as error:
        raise RewardError(f"the reward {function}{_place(error)}: {type(error).__name__}: {error}") from error
    if len(rewards) != len(answers):
        raise RewardError(
            f"the reward {function} returned {len(rewards)} rewards for {len(answers)} answers; return one for each"
        )
    wrong = next((number for number, reward in enumerate(rewards) if not math.isfinite(reward)), None)
    if wrong is not None:
        raise RewardError(
            f"the reward {function} returned {rewards[wrong]} for the answer {answers[wrong][:60]!r}; a reward must be "
            "finite"
        )
    return rewards


def _place(error: BaseException) -> str:
    """``, rewards.py line 12``: the innermost line outside this file; nothing where no line of it is known."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    return f", {Path(frames[-1].filename).name} line {frames[-1].lineno}" if frames else ""


_LOADED: dict[tuple[str, str | None], RewardFunction] = {}  # by name and hash of the code
