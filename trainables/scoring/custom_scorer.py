"""A custom score for answers: a Python function of the user's own, given as ``module:function``.

``paretune evaluate --scorer`` imports it from the working directory; ``data.quality`` names one that lies beside the
spec or is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.data.rows import Message
from trainables.storage import files

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
        """Imports the function ``module:function``, from the working directory first. Raises ``ScorerError``."""
        module, colon, name = path.partition(":")
        if not (module and colon and name):
            raise ScorerError(f"--scorer {path}: give module:function, as in my_scores:politeness")
        folder = Path.cwd()
        what = f"--scorer {path}: {module} can't be imported from {folder}"
        # The working directory comes first, so that the user's module wins over an installed one of its name.
        with _importing(what, folder):
            imported = importlib.import_module(module)
        return cls(name, path, _function(imported, name, f"--scorer {path}: {module}"))

    @classmethod
    def of_spec(cls, path: str, file: Path | None, sha256: str | None) -> Scorer:
        """The function ``module:function`` of ``data.quality``: in ``file``, or of an installed module without one.

        Raises ``ScorerError``, also for a file that is no longer what it was when the trial was planned (``sha256``).
        """
        module, _, name = path.partition(":")
        if file is None:
            with _importing(f"data.quality {path}: {module} can't be imported", None):
                imported = importlib.import_module(module)
            return cls(name, path, _function(imported, name, f"data.quality {path}: {module}"))
        with _importing(f"data.quality {path}: {file} can't be run", file.parent):
            if sha256 != files.file_sha256(file):
                raise ScorerError("it has changed since this was planned; restore it, or plan again")
            # Under a name of its own: an installed module may have the file's.
            spec = importlib.util.spec_from_file_location(
                f"paretune_quality_{module.replace('.', '_')}", file
            )
            assert spec is not None
            assert spec.loader is not None
            imported = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(imported)
        return cls(name, path, _function(imported, name, f"data.quality {path}: {file.name}"))

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
        except (Exception, SystemExit) as error:
            raise ScorerError(f"{self.path}, row {row}: {type(error).__name__}: {error}") from error
        if not math.isfinite(score):
            raise ScorerError(f"{self.path}, row {row}: returned {score}; a score must be finite")
        return score


@contextmanager
def _importing(what: str, folder: Path | None) -> Iterator[None]:
    """Imports with ``folder`` as the first place to look in; errors are ``ScorerError`` that begin with ``what``."""
    if folder is not None:
        sys.path.insert(0, str(folder))
    try:
        # The file may be newer than the listing of the folder that Python has cached.
        importlib.invalidate_caches()
        yield
    except (Exception, SystemExit) as error:
        why = f"{error}" if isinstance(error, ScorerError) else f"{type(error).__name__}: {error}"
        raise ScorerError(f"{what} ({why})") from error
    finally:
        if folder is not None:
            sys.path.remove(str(folder))


def _function(module: Any, name: str, what: str) -> ScoreFunction:
    function = getattr(module, name, None)
    if not callable(function):
        raise ScorerError(f"{what} has no function {name}")
    return function
