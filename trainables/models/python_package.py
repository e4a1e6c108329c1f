"""A base model that a package of the Python index carries: no hub is needed, only pip.

The package holds the model as GGUF. It is verified, converted once to what transformers writes, and kept.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from trainables.models.conversion import _run, convert
from trainables.models.folder import ModelError
from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.locks import locked


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


def download(requirement: str, folder: Path) -> Path:
    """Downloads one wheel, without what it depends on, and gives its path."""
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    _run([*pip, "--dest", str(folder), requirement], what=f"{requirement} could not be downloaded")
    return next(folder.glob("*.whl"))
