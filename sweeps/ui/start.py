"""The state that a UI process starts with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.ui.context import Ui
from sweeps.ui.roots import Roots
from sweeps.ui.run_index import RunIndex
from sweeps.ui.sessions import Sessions
from sweeps.ui.settings import UiSettings
from trainables.storage.home import home
from trainables.storage.urls import is_url

if TYPE_CHECKING:
    from typer import Typer


def new_ui(settings: UiSettings, commands: Typer) -> Ui:
    """The state of a UI process. Nothing is read from a run's folder yet."""
    from sweeps.ui.chats import Chats
    from sweeps.ui.children.jobs import Jobs
    from sweeps.ui.snapshots.store import SnapshotStore

    folders = [Path(root) for root in settings.runs if not is_url(root)]
    runs = RunIndex(settings.runs)
    return Ui(
        settings=settings,
        sessions=Sessions(settings.key),
        roots=Roots((*folders, settings.data_folder, home())),
        runs=runs,
        snapshots=SnapshotStore(runs),
        jobs=Jobs(),
        chats=Chats(settings.data_folder),
        commands=commands,
    )
