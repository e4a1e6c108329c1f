"""Starts a sweep from a draft: saves it beside the data, and runs ``paretune run NAME.yaml --detach`` as a job."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.ui.children import Job, Jobs
from sweeps.ui.drafts.new_files import write_new
from sweeps.ui.run_index import run_key
from trainables.storage import files
from trainables.storage.urls import is_url

KIND = "run"
ADDRESS = re.compile(r"auto|[A-Za-z0-9\[][A-Za-z0-9.:\-\[\]/]{0,200}")


class SpecExists(Exception):  # noqa: N818
    """Another file has the name that a draft would be saved under."""


class WrongAddress(ValueError):  # noqa: N818
    """An address of a cluster that Ray could not take."""


@dataclass(frozen=True)
class Start:
    """A sweep to start. ``output`` is a folder or URL for runs, one of those that the UI shows."""

    folder: Path
    name: str
    output: str
    address: str | None

    def __post_init__(self) -> None:
        if self.address and not ADDRESS.fullmatch(self.address):
            raise WrongAddress(f"{self.address!r} is no address of a cluster: write auto, or HOST:PORT")

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def argv(self) -> Sequence[str]:
        address = ["--address", self.address] if self.address else []
        return ["run", self.file.name, "--detach", "--output", self.output, *address]

    @property
    def command(self) -> str:
        """What a person would type in the data folder."""
        return shlex.join(["paretune", *self.argv])

    @property
    def run(self) -> str:
        """The folder or URL of the run."""
        if is_url(self.output):
            return f"{self.output.rstrip('/')}/{self.name}"
        return str((self.folder / self.output / self.name).absolute())

    @property
    def key(self) -> str:
        return run_key(self.run)

    def save(self, text: str, replace: bool) -> None:
        """Writes the spec. Raises :class:`SpecExists` if a file has another text, unless it may be replaced."""
        if self.file.is_symlink():
            raise SpecExists(f"{self.file.name} is a link, which is not written through; choose another name")
        if self.file.exists() and not replace and self.file.read_bytes() != text.encode():
            raise SpecExists(f"{self.file.name} is in the data folder already, with another text")
        if self.file.exists():
            files.write_text(self.file, text)
            return
        try:
            write_new(self.file, text.encode())
        except FileExistsError:
            raise SpecExists(f"{self.file.name} has just been made by somebody else") from None

    def start(self, jobs: Jobs) -> Job:
        return jobs.start(KIND, self.argv, self.folder, title=self.name, run=self.key)
