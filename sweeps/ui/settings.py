"""What ``paretune ui`` was started with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class UiSettings:
    """The settings of a UI process.

    ``runs``: folders or URLs that hold runs. ``data_folder``: where specs and data files are looked for and saved.
    ``root_path``: the path under which a proxy shows the UI, such as ``/paretune``; empty without one. ``address``: the
    Ray cluster of new sweeps. ``allowed_hosts``: further host names under which browsers may ask for pages. ``key``:
    what people without a one-time link sign in with; ``None`` admits only those with a link.
    """

    runs: tuple[str, ...]
    data_folder: Path
    host: str = "127.0.0.1"
    port: int = 7860
    root_path: str = ""
    address: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    key: str | None = None
