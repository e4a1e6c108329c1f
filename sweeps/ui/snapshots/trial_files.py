"""The files of one trial, read again only where their times have changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.ui.snapshots.curves import CurveFile, Stamp, stamp_of
from trainables import results
from trainables.results import Record
from trainables.storage.damaged_files import DamagedFile, read_object


@dataclass
class TrialFiles:
    """``config`` and ``record`` are those of the last :meth:`update`; ``damaged`` says what could not be read.

    ``changed`` is the time of the newest of the files, in seconds since 1970.
    """

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    record: Record | None = None
    damaged: str | None = None
    changed: float = 0.0

    def __post_init__(self) -> None:
        self.curve = CurveFile(self.folder / "curve.jsonl")
        self._record_path = str(self.folder / "record.json")  # looked at often: joining paths takes longer
        self._record_stamp: Stamp | None = None
        self._config_stamp: Stamp | None = None
        self._curve_stamp: Stamp | None = (
            None  # at the last update: figures and the trial's page read the curve, too
        )

    @property
    def ended(self) -> bool:
        """Whether the trial has a final record; an interrupted one goes on."""
        return self.record is not None and self.record.status != "interrupted"

    @property
    def begun(self) -> bool:
        return (self._config_stamp or self._record_stamp or self.damaged) is not None

    @property
    def step(self) -> int | None:
        """The last step that its record or its curve has."""
        steps = [self.record.steps if self.record is not None else None, self.curve.last_step]
        return max((step for step in steps if step is not None), default=None)

    def update(self) -> bool:
        """Reads what has changed, and what could not be read the last time; returns whether anything differs from the
        last call. Of an ended trial, the record alone is looked at.
        """
        before = (self._record_stamp, self._config_stamp, self._curve_stamp, self.damaged)
        damaged: str | None = None
        try:
            self._update_record()
            if not self.ended:
                self._update_config()
                self.curve.update()
                self._curve_stamp = self.curve.stamp
        except DamagedFile as error:
            damaged = str(error)
        self.damaged = damaged
        return before != (self._record_stamp, self._config_stamp, self._curve_stamp, self.damaged)

    def _update_record(self) -> None:
        stamp = stamp_of(self._record_path)
        if stamp == self._record_stamp:
            return
        self._note(stamp)
        self._record_stamp, self.record = None, None  # in case the new one is damaged
        self.record = results.read_record(self.folder)
        self._record_stamp = stamp

    def _update_config(self) -> None:
        path = self.folder / "config.json"
        stamp = stamp_of(path)
        if stamp == self._config_stamp or stamp is None:
            self._note(stamp_of(self.curve.path))
            return
        self._note(stamp)
        self._config_stamp = None
        self.config = read_object(path)
        self._config_stamp = stamp

    def _note(self, stamp: Stamp | None) -> None:
        if stamp is not None:
            self.changed = max(self.changed, stamp[1] / 1e9)

    @property
    def settings_tree(self) -> dict[str, Any]:
        """The trial's config, by its record where it has one."""
        return self.record.config if self.record is not None else self.config

    @property
    def cell(self) -> str:
        return self.record.cell if self.record is not None else str(self.config.get("cell", ""))

    @property
    def role(self) -> str:
        return self.record.role if self.record is not None else str(self.config.get("role") or "search")
