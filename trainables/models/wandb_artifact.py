"""Models and results that are artifacts of Weights & Biases: ``wandb:ENTITY/PROJECT/ARTIFACT:VERSION``.

An artifact that Paretune sent is a trial's folder: its ``model``, ``config.json`` and ``record.json``. One of others is
a model's own folder.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from trainables.models.conversion import run_command
from trainables.models.folder import ModelError, check_model_folder
from trainables.storage import cache
from trainables.storage.files import sha256
from trainables.storage.home import home
from trainables.system.capabilities import wandb_key

KIND = "wandb-artifacts"  # of the cache
NAME = re.compile(r"(?P<path>[^/:\s]+/[^/:]+/[^/:]+)(?::(?P<version>[^/:]+))?")
# Variables of W&B's that the download needs; the others say what another process does.
KEPT = ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_HTTP_TIMEOUT")


@dataclass(frozen=True)
class WandbArtifact:
    """``name``: ENTITY/PROJECT/ARTIFACT:VERSION, where VERSION is a version (v3) or an alias (latest).

    What was downloaded for an alias stays until the cache forgets it.
    """

    name: str

    prefix: ClassVar[str] = "wandb"

    @classmethod
    def parse(cls, text: str) -> WandbArtifact:
        """Raises ``ModelError`` for a text that names no artifact.

        >>> WandbArtifact.parse("team/paretune/sft-lora-3f2a9c81d0b4").name
        'team/paretune/sft-lora-3f2a9c81d0b4:latest'
        """
        found = NAME.fullmatch(text)
        if found is None:
            raise ModelError(
                f"{cls.prefix}:{text} names no artifact: give {cls.prefix}:ENTITY/PROJECT/ARTIFACT:VERSION, with a "
                "version such as v3 or latest"
            )
        return cls(f"{found['path']}:{found['version'] or 'latest'}")

    def local(self) -> Path | None:
        """The folder of the model on this machine, ``None`` if it has to be downloaded."""
        return _model_in(self._entry) if self._entry.is_dir() else None

    def fetch(self) -> Path:
        """The folder of the model, downloaded if missing. Prints nothing. Raises ``ModelError``."""
        return check_model_folder(_model_in(self.fetch_all()))

    def fetch_all(self) -> Path:
        """The folder of the whole artifact, downloaded if missing. Prints nothing. Raises ``ModelError``."""
        if not self._entry.is_dir() and wandb_key() is None:
            raise ModelError(f"{self.prefix}:{self.name} needs an account at W&B: `wandb login`.")
        return cache.entry(KIND, self._key, self._download)

    @property
    def _key(self) -> str:
        return sha256([os.environ.get("WANDB_BASE_URL"), self.name])

    @property
    def _entry(self) -> Path:
        return home() / KIND / self._key[:16]

    def _download(self, folder: Path) -> None:
        command = [sys.executable, "-P", "-m", "trainables.models.wandb_download", self.name, str(folder)]
        with tempfile.TemporaryDirectory(prefix="paretune-wandb-") as own:
            run_command(
                command,
                failure=f"{self.prefix}:{self.name} could not be downloaded",
                # W&B reads settings in the working folder and in its folder of configuration. Those beside a data set
                # may be somebody else's, and could have the API key sent to any server.
                cwd=Path(own),
                environment=_environment(own),
            )


def _model_in(folder: Path) -> Path:
    return folder / "model" if (folder / "model").is_dir() else folder


def _environment(own: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("WANDB_") or name in KEPT
    }
    folders = ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR", "WANDB_CONFIG_DIR")
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **kept,
        **dict.fromkeys(folders, own),
        "WANDB_SILENT": "true",
        "PYTHONPATH": os.pathsep.join(paths),
    }
