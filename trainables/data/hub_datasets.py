"""Data sets on a hub: ``hf:ORG/NAME`` (Hugging Face) and ``ms:ORG/NAME`` (ModelScope).

The repository's files are downloaded once and read by our own readers; no code of theirs is ever run. Which files
make a subset and a split, the repository's card says (``configs`` in README.md), else their names do.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.data.data_files import kind
from trainables.data.errors import DataError
from trainables.storage.files import leads_out

HUBS = {"hf": "Hugging Face", "ms": "ModelScope"}
WANTED = ["*.json*", "*.csv*", "*.tsv*", "*.parquet", "*.arrow", "*.txt*", "*.ndjson*", "README.md"]


@dataclass(frozen=True)
class DataHub:
    """``hub:repository[:subset][#split][@revision]``; the split is ``train`` unless said.

    >>> DataHub.parse("hf:tatsu-lab/alpaca#train").repository
    'tatsu-lab/alpaca'
    """

    hub: str
    repository: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    folder: str | None = None

    @classmethod
    def parse(cls, name: str) -> DataHub:
        hub, _, rest = name.partition(":")
        rest, _, revision = rest.removeprefix("datasets/").partition("@")
        rest, _, split = rest.partition("#")
        repository, _, subset = rest.partition(":")
        if repository.count("/") != 1:
            raise DataError(
                f"{name}: expected {hub}:ORG/NAME, with :SUBSET, #SPLIT or @REVISION after it if wanted"
            )
        if leads_out(revision):
            raise DataError(f"{name}: {revision!r} can't be a revision; give a branch, a tag or a commit")
        return cls(hub, repository, subset or None, split or None, revision or None)

    @property
    def name(self) -> str:
        return f"{self.hub}:{self.repository}"

    def fetch(self) -> Path:
        """The repository's folder on this machine, downloaded when it isn't there."""
        for offline in (True, False):
            try:
                return self._snapshot(offline)
            # Whatever breaks a download (names, rights, network, disk) is for the user to read, not to trace.
            except Exception as error:
                failed = error
        raise DataError(
            f"{self.name} could not be downloaded: {failed}; check the id and the network, or give a file"
        ) from failed

    def files(self) -> tuple[Path, ...]:
        """The files of the subset and split."""
        root = self.fetch()
        found = sorted(
            path for path in root.rglob("*") if path.is_file() and kind(path) and path.name != "README.md"
        )
        found = [path for path in found if not path.name.startswith(".") and path.name != "dataset_info.json"]
        chosen = _from_card(root, found, self.subset, self.split) or self._by_name(root, found)
        if not chosen:
            names = ", ".join(str(path.relative_to(root)) for path in found[:10]) or "none"
            raise DataError(
                f"{self.name}: no files for subset {self.subset}, split {self.split}; its data files: {names}"
            )
        return tuple(chosen)

    def _by_name(self, root: Path, found: Sequence[Path]) -> list[Path]:
        for part in (self.subset, self.folder):
            if part is not None:
                found = [path for path in found if part in path.relative_to(root).parts or part in path.stem]
        split = self.split or "train"
        named = [path for path in found if split in str(path.relative_to(root))]
        return list(named) if named or self.split else list(found)

    def _snapshot(self, offline: bool) -> Path:
        if self.hub == "ms":
            if find_spec("modelscope") is None:
                raise DataError("it needs the package modelscope: `pip install modelscope`")
            from modelscope import dataset_snapshot_download

            return Path(
                dataset_snapshot_download(
                    self.repository,
                    revision=self.revision,
                    allow_file_pattern=WANTED,
                    local_files_only=offline,
                )
            )
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                self.repository,
                repo_type="dataset",
                revision=self.revision,
                allow_patterns=WANTED,
                local_files_only=offline,
            )
        )


def _from_card(root: Path, found: Sequence[Path], subset: str | None, split: str | None) -> list[Path]:
    """The files that the card's ``configs`` give a subset and split."""
    configs = _configs(root)
    named = [config for config in configs if config.get("config_name", "default") == subset]
    usual = [config for config in configs if config.get("default")] or configs[:1]
    for config in named if subset is not None else usual:
        patterns = _patterns(config.get("data_files"), split or "train")
        names = {path: str(path.relative_to(root)) for path in found}
        return [p for p, name in names.items() if any(fnmatch.fnmatch(name, each) for each in patterns)]
    return []


def _configs(root: Path) -> list[dict[str, Any]]:
    from huggingface_hub import DatasetCard

    card = root / "README.md"
    if not card.is_file():
        return []
    head = DatasetCard.load(card, ignore_metadata_errors=True).data.to_dict()
    return [config for config in head.get("configs") or [] if isinstance(config, dict)]


def _patterns(data_files: Any, split: str) -> list[str]:
    if isinstance(data_files, str):
        return [data_files]
    found: list[str] = []
    for item in data_files or []:
        if isinstance(item, str):
            found.append(item)
        elif item.get("split") == split:
            path = item.get("path", [])
            found += [path] if isinstance(path, str) else list(path)
    return found
