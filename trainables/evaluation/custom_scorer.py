"""A custom score for answers: a Python function given as ``module:function``, imported from the working directory."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data.rows import Message

# (the prompt's messages, the reference or None, the answer) -> the score
ScoreFunction = Callable[[list[Message], str | None, str], float]


class ScorerError(ValueError):
    """A scorer that can't be imported, or that fails: which one, at which row, and how."""


@dataclass(frozen=True)
class Scorer:
    """A scoring function, given as ``path``; ``name`` is the function's name and that of its measure."""

    name: str
    path: str
    function: ScoreFunction

    @classmethod
    def parse(cls, path: str) -> Scorer:
        """Imports the function ``module:function``. Raises ``ScorerError``."""
        module, colon, name = path.partition(":")
        if not (module and colon and name):
            raise ScorerError(f"--scorer {path}: give module:function, as in my_scores:politeness")
        function = getattr(_import_module(module, path), name, None)
        if not callable(function):
            raise ScorerError(f"--scorer {path}: {module} has no function {name}")
        return cls(name, path, function)

    def score_rows(
        self,
        row_numbers: Sequence[int],
        prompts: Sequence[Sequence[Message]],
        references: Sequence[str | None],
        answers: Sequence[str],
    ) -> list[float]:
        """The score of each row's answer. Raises ``ScorerError`` that names the row by its number."""
        rows = zip(row_numbers, prompts, references, answers, strict=True)
        return [self._score(number, list(prompt), *rest) for number, prompt, *rest in rows]

    def _score(self, row: int, prompt: list[Message], reference: Any, answer: Any) -> float:
        try:
            score = float(self.function(prompt, reference, answer))
        except Exception as error:
            raise ScorerError(f"{self.path}, row {row}: {type(error).__name__}: {error}") from error
        if not math.isfinite(score):
            raise ScorerError(f"{self.path}, row {row}: returned {score}; a score must be finite")
        return score


def _import_module(module: str, path: str) -> Any:
    folder = str(Path.cwd())
    # The working directory comes first, so that the user's module wins over an installed one of its name.
    sys.path.insert(0, folder)
    try:
        # The file may be newer than the listing of the folder that Python has cached.
        importlib.invalidate_caches()
        return importlib.import_module(module)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ScorerError(f"--scorer {path}: {module} can't be imported from {folder} ({why})") from error
    finally:
        sys.path.remove(folder)
