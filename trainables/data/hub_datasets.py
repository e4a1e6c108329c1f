"""Data sets on a hub: ``hf:ORG/NAME`` (Hugging Face) and ``ms:ORG/NAME`` (ModelScope).

The repository's files are downloaded once and read by Paretune's own readers; no code from the repository is run. Its
card (``configs`` in README.md) says which files make a subset and a split; without that, the files' names do.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainables.data.errors import DataError
from trainables.data.files.data_files import data_suffix
from trainables.storage.names import leads_out

HUBS = {"hf": "Hugging Face", "ms": "ModelScope"}
FILE_PATTERNS = ["*.json*", "*.csv*", "*.tsv*", "*.parquet", "*.arrow", "*.txt*", "*.ndjson*", "README.md"]


@dataclass(frozen=True)
class HubDataset:
    """``hub:repository[:subset][#split][@revision]``; the default split is ``train``.

    >>> HubDataset.parse("hf:tatsu-lab/alpaca#train").repository
    'tatsu-lab/alpaca'
    """

    hub: str
    repository: str
    subset: str | None = None
    split: str | None = None
    revision: str | None = None
    folder: str | None = None

    @classmethod
    def parse(cls, name: str) -> HubDataset:
        hub, _, rest = name.partition(":")
        # The revision is split off first: a branch's name may contain `#`.
        rest, _, revision = rest.removeprefix("datasets/").partition("@")
        rest, _, split = rest.partition("#")
        repository, _, subset = rest.partition(":")
        if repository.count("/") != 1:
            raise DataError(
                f"{name}: expected {hub}:ORG/NAME, followed by :SUBSET, #SPLIT or @REVISION if needed"
            )
        if leads_out(revision):
            raise DataError(f"{name}: {revision!r} can't be a revision; give a branch, a tag or a commit")
        return cls(hub, repository, subset or None, split or None, revision or None)

    @property
    def name(self) -> str:
        return f"{self.hub}:{self.repository}"

    def fetch(self) -> Path:
        """The repository's folder on this machine, downloaded if it is missing."""
        # The local copy first: a data set that was downloaded once is used without network access.
        for offline in (True, False):
            try:
                return self._snapshot(offline)
            # Whatever stops a download (names, permissions, network, disk): the user needs its message, no traceback.
            except Exception as error:
                # Python deletes `error` at the end of this block.
                failure = error
        raise DataError(
            f"{self.name} could not be downloaded: {failure}; check the id and the network, or give a file"
        ) from failure

    def files(self) -> tuple[Path, ...]:
        """The files of the subset and split, downloaded if missing. Raises :class:`DataError` if there are none."""
        root = self.fetch()
        paths = sorted(
            path
            for path in root.rglob("*")
            if path.is_file() and data_suffix(path) and path.name != "README.md"
        )
        paths = [path for path in paths if not path.name.startswith(".") and path.name != "dataset_info.json"]
        chosen = _from_card(root, paths, self.subset, self.split) or self._by_name(root, paths)
        if not chosen:
            names = ", ".join(str(path.relative_to(root)) for path in paths[:10]) or "none"
            raise DataError(
                f"{self.name}: no files for subset {self.subset}, split {self.split}; its data files: {names}"
            )
        return tuple(chosen)

    def _by_name(self, root: Path, paths: Sequence[Path]) -> list[Path]:
        for part in (self.subset, self.folder):
            if part is not None:
                paths = [path for path in paths if part in path.relative_to(root).parts or part in path.stem]
        split = self.split or "train"
        of_split = [path for path in paths if split in str(path.relative_to(root))]
        # Where file names name no split and none is requested, all files are read.
        return list(of_split) if of_split or self.split else list(paths)

    def _snapshot(self, offline: bool) -> Path:
        if self.hub == "ms":
            if find_spec("modelscope") is None:
                raise DataError("it needs the package modelscope: `pip install modelscope`")
            from modelscope import dataset_snapshot_download

            return Path(
                dataset_snapshot_download(
                    self.repository,
                    revision=self.revision,
                    allow_file_pattern=FILE_PATTERNS,
                    local_files_only=offline,
                )
            )
        from huggingface_hub import snapshot_download

        return Path(
            snapshot_download(
                self.repository,
                repo_type="dataset",
                revision=self.revision,
                allow_patterns=FILE_PATTERNS,
                local_files_only=offline,
            )
        )


def _from_card(root: Path, paths: Sequence[Path], subset: str | None, split: str | None) -> list[Path]:
    """The files of a subset and split according to ``configs`` in the repository's card; empty if it has none."""
    configs = _configs(root)
    if subset is not None:
        configs = [config for config in configs if config.get("config_name", "default") == subset]
    else:
        # The card may mark a default subset; otherwise its first one is taken.
        configs = [config for config in configs if config.get("default")] or configs
    if not configs:
        return []
    patterns = _patterns(configs[0].get("data_files"), split or "train")
    names = {path: str(path.relative_to(root)) for path in paths}
    return [
        path for path, name in names.items() if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]


def _configs(root: Path) -> list[dict[str, Any]]:
    from huggingface_hub import DatasetCard

    card = root / "README.md"
    if not card.is_file():
        return []
    metadata = DatasetCard.load(card, ignore_metadata_errors=True).data.to_dict()
    return [config for config in metadata.get("configs") or [] if isinstance(config, dict)]


def _patterns(data_files: Any, split: str) -> list[str]:
    if isinstance(data_files, str):
        return [data_files]
    # `data_files` is a pattern, a list of patterns, or a list of {split, path} with one or several paths.
    patterns: list[str] = []
    for item in data_files or []:
        if isinstance(item, str):
            patterns.append(item)
        elif item.get("split") == split:
            path = item.get("path", [])
            patterns += [path] if isinstance(path, str) else list(path)
    return patterns
