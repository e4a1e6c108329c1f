"""What a tracker is: the settings by which the driver starts its process, and what that process sends.

A tracker costs one file in ``trackers/`` with three classes: a :class:`Tracker`, and in its process a
:class:`TrackedRun` and a :class:`TrackedTrial`, which ``follower.RunFollower`` feeds from the run folder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from sweeps.spec.settings import TrackingConfig
from sweeps.tracking import sweep_id
from trainables.config.base import Frozen
from trainables.results import Record
from trainables.storage.damaged_files import read_object, reading


@dataclass(frozen=True)
class FollowedRun:
    """A run folder, and by which names trackers know it."""

    folder: Path
    environment: dict[str, Any] = field(repr=False)  # the contents of environment.json

    @classmethod
    def read(cls, folder: Path) -> FollowedRun:
        """Raises ``DamagedFile``."""
        return cls(folder, read_object(folder / "environment.json"))

    @property
    def name(self) -> str:
        """The sweep's name, which several runs may have."""
        return str(self.environment.get("name") or self.folder.name)

    @cached_property
    def id(self) -> str:
        """The sweep's id, which its trials' ids in trackers begin with; a resumed or longer run keeps it."""
        return sweep_id.read(self.folder, self.environment)


@dataclass(frozen=True)
class FollowedTrial:
    """The folder of a trial, with its ``config.json``."""

    run: FollowedRun
    folder: Path
    config: dict[str, Any] = field(repr=False)
    cell: str

    @classmethod
    def read(cls, run: FollowedRun, folder: Path) -> FollowedTrial:
        """Raises ``DamagedFile``."""
        config = read_object(folder / "config.json")
        with reading(folder / "config.json"):
            return cls(run, folder, config, str(config["cell"]))

    @property
    def name(self) -> str:
        """The trial's id within its run."""
        return self.folder.name

    @property
    def id(self) -> str:
        """An id which the same trial of another sweep hasn't."""
        return f"{self.run.id}-{self.name}"


class TrackedTrial(ABC):
    """A trial in a tracker, from its first step to its end.

    ``last_step``: the last step that the tracker has. A trial that was interrupted begins again in a later process,
    which sets it to what an earlier one sent, where the tracker can tell.
    """

    last_step: int = 0

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Sends all values of one training step; called with increasing steps."""

    def flush(self) -> None:  # noqa: B027 - trackers that send each step at once have nothing to flush
        """Sends what was logged; called after the steps that were new at one time."""

    @abstractmethod
    def finish(self, record: Record | None) -> None:
        """Ends the trial with its record; without one, leaves it to be continued when the run is resumed."""


class TrackedRun(ABC):
    """A run folder in a tracker. ``is_new``: the tracker has nothing of it, so what is marked as sent is sent again."""

    is_new: bool = False

    @abstractmethod
    def begin(self, trial: FollowedTrial) -> TrackedTrial:
        """The trial in the tracker: as an earlier process left it, or a new one."""

    @abstractmethod
    def summarize(self) -> None:
        """Sends what is known of the whole run, once its tables and its report are written."""

    def close(self) -> None:  # noqa: B027 - most trackers have nothing to close
        """Ends the tracker's connections, after all else."""


class Tracker(Frozen, ABC):
    """A tracker that a spec asks for, with what its process needs to know.

    The driver makes it and never imports the tracker's package: that takes time, and may fail or hang.
    """

    name: ClassVar[str]  # the key of its setting, of its file in trackers/, and of its folder in a run
    label: ClassVar[str]  # in messages

    @classmethod
    @abstractmethod
    def requested(cls, tracking: TrackingConfig) -> Self | None:
        """The tracker with a spec's settings, or ``None``. Raises ``SpecError`` for what is impossible here."""

    @property
    def quiet(self) -> bool:
        """Whether its announcement is for the log alone when the spec says nothing of tracking."""
        return False

    @abstractmethod
    def announcement(self, folder: Path) -> str:
        """What it will do, in a line that begins after its label; ``folder`` is its own in the run folder."""

    def notes(self) -> Iterable[str]:
        """Further lines for the user as the run begins."""
        return ()

    def environment(self, folder: Path, empty: Path, inherited: Mapping[str, str]) -> dict[str, str]:
        """The variables of its process. ``empty`` is the working folder of that process, which nobody else uses."""
        return dict(inherited)

    def how_to_send(self, folder: Path) -> str | None:
        """The command that sends what was recorded in ``folder`` and not sent, where there is one."""
        return None

    @property
    def destination(self) -> str:
        """Where trials go, if that may change between two sessions of a run: those sent elsewhere are sent again."""
        return ""

    @abstractmethod
    def open(self, run: FollowedRun) -> TrackedRun:
        """Called in the tracker's process."""
