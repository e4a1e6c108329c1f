"""Results of earlier runs that a spec starts from: ``RUN``, ``RUN:CELL``, ``RUN:TRIAL``, ``RUN:TRIAL@STEP``.

Which trials these are is settled once, and holds for as long as the run that starts from them does: a ``--resume``
goes on from the same ones, whatever is the best of the earlier run by then.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.runs.layout import Settled
from trainables.models.folder import ModelError
from trainables.system.redaction import redacted

if TYPE_CHECKING:
    from sweeps.runs.artifacts import Answers, Found


class Earlier:
    """The results that one spec names, each looked up once.

    ``answers`` says what earlier runs' reports do; without it a run as a whole is refused. ``before`` gives what was
    settled when the run began, and is asked only if the spec names results.
    """

    def __init__(self, answers: Answers | None = None, before: Callable[[], Settled] = dict) -> None:
        self.settled: dict[str, dict[str, str]] = {}
        self.notes: list[str] = []
        self._answers, self._before = answers, before
        self._known: Settled | None = None
        self._in_run: dict[str, bool] = {}
        self._found: dict[tuple[str, str], Found | ModelError | None] = {}

    def has(self, name: str) -> bool:
        """Whether ``name`` names a run, or what is in one."""
        from sweeps.runs.artifacts import in_run

        if name not in self._in_run:
            self._in_run[name] = in_run(name)
        return self._in_run[name]

    def folder(self, name: str, written: str, task: str) -> Path | None:
        """The folder of the weights or the adapter that ``name`` stands for, a model for ``task``; ``None`` where it
        names no run. ``written`` is how the spec has it: its paths may be relative to the spec.

        Raises ``ModelError`` where nothing was left.
        """
        if not self.has(name):
            return None
        if (name, task) not in self._found:
            self._found[name, task] = self._look(name, redacted(written), task)
        found = self._found[name, task]
        if isinstance(found, ModelError):
            raise found
        return found.folder if found is not None else None

    def _look(self, name: str, written: str, task: str) -> Found | ModelError | None:
        from sweeps.runs.artifacts import left

        if self._known is None:
            self._known = self._before()
        settled = self._known.get(task, {}).get(written)
        try:
            found = left(name, self._answers, task, settled)
        except ModelError as error:
            return error
        if found is not None:
            self.settled.setdefault(task, {})[written] = found.trial
            self._note(written, found, settled is not None)
        return found

    def _note(self, written: str, found: Found, settled: bool) -> None:
        cell = f" of {found.record.cell}" if found.record is not None else ""
        began = ", as when this run began" if settled else ""
        if not written.endswith(f":{found.trial}"):
            self.notes.append(f"{written} is trial {found.trial}{cell}{began}")
