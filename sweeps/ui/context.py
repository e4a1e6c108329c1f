"""What the pages of a UI process share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.ui.roots import Roots
from sweeps.ui.run_index import RunIndex
from sweeps.ui.sessions import Sessions
from sweeps.ui.settings import UiSettings

if TYPE_CHECKING:
    from starlette.requests import Request
    from typer import Typer


@dataclass(frozen=True)
class Ui:
    """The state of a UI process, as ``request.app.state.ui``. What runs and jobs are is read from their folders.

    ``commands``: Paretune's own command line, whose options the forms show.
    """

    settings: UiSettings
    sessions: Sessions
    roots: Roots
    runs: RunIndex
    snapshots: Any
    jobs: Any
    chats: Any
    commands: Typer


def ui_of(request: Request) -> Ui:
    """The state of the UI that answers a request."""
    state: Ui = request.app.state.ui
    return state
