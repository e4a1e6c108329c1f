"""Base models on a hub: Hugging Face (``hf:ORG/NAME``) and ModelScope (``ms:ORG/NAME``).

Each hub keeps its own cache; what is there is used without asking the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from trainables.models.folder import ModelError, check

# Weights as safetensors, configs, tokenizers and chat templates; never pickles. Code is not run unless a spec says so.
WANTED = ["*.safetensors", "*.json", "*.model", "*.txt", "*.jinja", "*.tiktoken", "*.py"]
# Subfolders repeat the weights in other formats, and so does `consolidated`.
UNWANTED = ["*/*", "consolidated*"]


@dataclass(frozen=True)
class Hub:
    """A model on the Hugging Face hub: ``org/name``, at a branch, tag or commit."""

    repository: str
    revision: str | None = None

    prefix: ClassVar[str] = "hf"
    hint: ClassVar[str] = "A gated model also needs `hf auth login`."

    def local(self) -> Path | None:
        """The model's folder on this machine, ``None`` while it has to be fetched."""
        try:
            return check(self._snapshot(local_files_only=True))
        except (OSError, ModelError):  # never downloaded, or not to its end
            return None
        except ValueError as error:
            raise ModelError(f"{self.prefix}:{self.repository} can't be a model's id: {error}") from error

    def fetch(self) -> Path:
        """The model's folder, downloaded when it isn't there. Prints nothing."""
        if (here := self.local()) is not None:
            return here
        try:
            snapshot = self._snapshot(local_files_only=False)
        # Whatever breaks a download (names, rights, network, disk) is for the user to read, not to trace.
        except Exception as error:
            raise ModelError(
                f"{self.prefix}:{self.repository} could not be downloaded: {error}\n"
                f"Check the id and the network, or give model.path a folder. {self.hint}"
            ) from error
        return check(snapshot)

    def _snapshot(self, local_files_only: bool) -> Path:
        from huggingface_hub import snapshot_download

        with _no_progress_bars():
            folder = snapshot_download(
                self.repository,
                revision=self.revision,
                local_files_only=local_files_only,
                allow_patterns=WANTED,
                ignore_patterns=UNWANTED,
            )
        return Path(folder)


@dataclass(frozen=True)
class ModelScope(Hub):
    """A model on ModelScope, through the optional package of that name."""

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
            allow_file_pattern=WANTED,
            ignore_file_pattern=UNWANTED,
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
