"""Base models on a hub: Hugging Face (``hf:ORG/NAME``) and ModelScope (``ms:ORG/NAME``).

Each hub has its own cache; a model that is in it is used without network access.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from trainables.models.folder import ModelError, check_model_folder

# Weights as safetensors, configs, tokenizers and chat templates; never pickles. Code runs only if a spec allows it.
DOWNLOADED = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py"]
# Subfolders and `consolidated` hold the same weights in other formats.
IGNORED = ["*/*", "consolidated*"]


@dataclass(frozen=True)
class HuggingFaceModel:
    """A model on the Hugging Face hub: ``org/name``, at a branch, tag or commit."""

    repository: str
    revision: str | None = None

    prefix: ClassVar[str] = "hf"
    hint: ClassVar[str] = "A gated model also needs `hf auth login`."

    def local(self) -> Path | None:
        """The model's folder on this machine, ``None`` if it has to be downloaded."""
        try:
            return check_model_folder(self._snapshot(local_files_only=True))
        except (OSError, ModelError):  # not downloaded, or incompletely
            return None
        # huggingface_hub's answer to a malformed id; a ModelError is a ValueError too, and caught above.
        except ValueError as error:
            raise ModelError(f"{self.prefix}:{self.repository} isn't a valid model id: {error}") from error

    def fetch(self) -> Path:
        """The model's folder, downloaded if missing. Prints nothing. Raises ``ModelError``."""
        if (folder := self.local()) is not None:
            return folder
        try:
            snapshot = self._snapshot(local_files_only=False)
        # Whatever breaks a download (name, permission, network, disk) is a message to the user, not a stack trace.
        except Exception as error:
            raise ModelError(
                f"{self.prefix}:{self.repository} could not be downloaded: {error}\n"
                f"Check the id and the network, or set model.path to a folder. {self.hint}"
            ) from error
        return check_model_folder(snapshot)

    def _snapshot(self, local_files_only: bool) -> Path:
        from huggingface_hub import snapshot_download

        with _no_progress_bars():
            folder = snapshot_download(
                self.repository,
                revision=self.revision,
                local_files_only=local_files_only,
                allow_patterns=DOWNLOADED,
                ignore_patterns=IGNORED,
            )
        return Path(folder)


@dataclass(frozen=True)
class ModelScopeModel(HuggingFaceModel):
    """A model on ModelScope, through the optional package ``modelscope``."""

    prefix: ClassVar[str] = "ms"
    hint: ClassVar[str] = "A private model also needs `modelscope login`."

    def local(self) -> Path | None:
        if find_spec("modelscope") is None:
            raise ModelError(f"ms:{self.repository} needs the package modelscope: `pip install modelscope`.")
        return super().local()

    def _snapshot(self, local_files_only: bool) -> Path:
        from modelscope import snapshot_download

        folder = snapshot_download(
            self.repository,
            revision=self.revision,
            local_files_only=local_files_only,
            allow_file_pattern=DOWNLOADED,
            ignore_file_pattern=IGNORED,
        )
        return Path(folder)


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    from huggingface_hub import utils

    if utils.are_progress_bars_disabled():
        yield
        return
    utils.disable_progress_bars()
    try:
        yield
    finally:
        utils.enable_progress_bars()
