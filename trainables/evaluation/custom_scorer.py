"""A score of one's own for an answer: ``module:function``, found from the folder one is in."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data.rows import Message

# (the prompt's messages, the reference where there is one, the answer) -> the score
ScoreFunction = Callable[[list[Message], str | None, str], float]


class ScorerError(ValueError):
    """A scorer that isn't there, or that fails: which, at which row, and how."""


@dataclass(frozen=True)
class Scorer:
    """``name`` is what the function is called; its score has that name too."""

    name: str
    path: str
    function: ScoreFunction

    @classmethod
    def parse(cls, path: str) -> Scorer:
        """The function that ``module:function`` names. Raises ``ScorerError``."""
        module, colon, name = path.partition(":")
        if not (module and colon and name):
            raise ScorerError(f"--scorer {path}: give module:function, as in my_scores:politeness")
        function = getattr(_imported(module, path), name, None)
        if not callable(function):
            raise ScorerError(f"--scorer {path}: {module} has no function {name}")
        return cls(name, path, function)

    def rows(
        self,
        numbers: Sequence[int],
        prompts: Sequence[Sequence[Message]],
        references: Sequence[str | None],
        answers: Sequence[str],
    ) -> list[float]:
        """The score of each row. Raises ``ScorerError`` that names the row by its number."""
        rows = zip(numbers, prompts, references, answers, strict=True)
        return [self._one(number, list(prompt), *rest) for number, prompt, *rest in rows]

    def _one(self, row: int, prompt: list[Message], reference: Any, answer: Any) -> float:
        try:
            found = float(self.function(prompt, reference, answer))
        except Exception as error:
            raise ScorerError(f"{self.path}, row {row}: {type(error).__name__}: {error}") from error
        if not math.isfinite(found):
            raise ScorerError(f"{self.path}, row {row}: gave {found}, which is no score")
        return found


def _imported(module: str, path: str) -> Any:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        return importlib.import_module(module)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ScorerError(f"--scorer {path}: {module} can't be imported from {here} ({why})") from error
    finally:
        sys.path.remove(here)
