"""Resolves the names in a spec's ``data.train`` to files and how to read them.

A name is looked up among the embedded data sets, then in the folder's ``dataset_info.json``; ``hf:`` and ``ms:`` are
hubs; anything else is a path: a file, a folder of files, or a glob pattern.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data import dataset_info, formats
from trainables.data.embedded import commands, data_sets
from trainables.data.errors import DataError
from trainables.data.files.data_files import find_data_files
from trainables.data.files.doubtful_files import file_warnings
from trainables.data.formats.base import GivenColumns
from trainables.data.hub_datasets import HUBS, HubDataset
from trainables.storage.names import leads_out
from trainables.system.suggestions import Proposal, did_you_mean

if TYPE_CHECKING:
    from trainables.config.data import DataConfig

EMBEDDED = tuple(data_sets.DATA_SETS)


@dataclass(frozen=True)
class Source:
    """One data set: its files, or the name of an embedded one.

    ``written``: part -> the name that the spec's ``columns`` has for it. ``warnings``: sentences on the
    choice of files.
    """

    name: str
    files: tuple[Path, ...] = ()
    embedded: bool = False
    format: str | None = None  # None: detected from the columns
    columns: GivenColumns = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    max_rows: int | None = None
    registered: bool = False  # listed in dataset_info.json
    setting: tuple[str, ...] = ()  # of the data that has its name: none if it is trained on, or ("eval",)
    written: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()  # on which files are read

    @property
    def exact(self) -> bool:
        """Whether each prompt has one right answer."""
        return self.embedded and self.name in data_sets.EXACT

    def setting_of(self, part: str) -> tuple[str, ...]:
        """The setting in ``data`` that gave this part its column, or if a registry did, that of the source."""
        return ("columns", self.written[part]) if part in self.written else self.setting

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Gives data errors the source's setting, unless they have one."""
        try:
            yield
        except DataError as error:
            error.setting = error.setting or self.setting
            raise


def resolve(name: str, config: DataConfig, setting: str = "train") -> Source:
    """The source that a name in ``setting`` stands for. Raises :class:`DataError` if there is none."""
    place = () if setting == "train" else (setting,)
    with Source(name, setting=place).errors():
        return replace(_resolve(name, config, training=setting == "train"), setting=place)


def _resolve(name: str, config: DataConfig, training: bool) -> Source:
    columns, tags, written = _columns(config), _tags(config), _written(config)
    if name in EMBEDDED:
        return Source(name, embedded=True, max_rows=config.max_samples)
    if config.folder is not None and (entry := dataset_info.find_entry(config.folder, name)) is not None:
        return _registered(entry, config, columns, tags, written)
    warnings: tuple[str, ...] = ()
    if is_hub(name):
        label, paths = name, HubDataset.parse(name).files()
    else:
        path = _absolute(Path(name).expanduser(), config.folder)
        if not path.exists() and not any(mark in name for mark in "*?["):
            raise DataError(_not_found(path, config.folder))
        label, paths = path.name, tuple(find_data_files(path))
        warnings = tuple(file_warnings(path, paths, training))
    return Source(
        label,
        paths,
        format=config.format,
        columns=columns,
        tags=tags,
        max_rows=config.max_samples,
        written=written,
        warnings=warnings,
    )


def exists(name: str, config: DataConfig) -> bool:
    """Whether ``name`` stands for data on this machine; its rows are not read."""
    try:
        resolve(name, config)
    except DataError:
        return False
    return True


def is_hub(name: str) -> bool:
    """Whether a name is one of a hub: ``hf:ORG/NAME`` or ``ms:ORG/NAME``."""
    return name.partition(":")[0] in HUBS and ":" in name


def _absolute(path: Path, folder: Path | None) -> Path:
    return path if path.is_absolute() or folder is None else folder / path


def _columns(config: DataConfig) -> dict[str, str | None]:
    try:
        return formats.columns_by_part(config.columns)
    except formats.InvalidColumns as error:
        raise DataError(str(error), ("columns", error.part)) from None


def _written(config: DataConfig) -> dict[str, str]:
    return {formats.part_of(name): name for name in config.columns}


def _tags(config: DataConfig) -> dict[str, str]:
    for tag in config.tags:
        if tag not in formats.TAGS:
            known = f"known: {', '.join(formats.TAGS)}{did_you_mean(tag, formats.TAGS)}"
            raise DataError(f"unknown tag {tag}; {known}", ("tags", tag))
    return dict(config.tags)


def _registered(
    entry: dataset_info.Entry,
    config: DataConfig,
    columns: GivenColumns,
    tags: Mapping[str, str],
    written: Mapping[str, str],
) -> Source:
    if entry.file_name is not None and config.folder is not None:
        # The registry may be somebody else's, and its rows are trained on, shown in the report and sent to W&B.
        if leads_out(entry.file_name):
            raise DataError(
                f"{entry.where}: file_name {entry.file_name!r} leads out of {config.folder}; move or link the file "
                f"there, or name it in the spec itself: data: {{train: {entry.file_name}}}"
            )
        path = _absolute(Path(entry.file_name), config.folder)
        if not path.exists():
            raise DataError(f"{entry.where}: file_name {entry.file_name}: no such file in {config.folder}")
        paths = tuple(find_data_files(path))
    else:
        paths = _hub_files(entry)
    limits = [limit for limit in (entry.num_samples, config.max_samples) if limit is not None]
    return Source(
        name=entry.name,
        files=paths,
        # What the spec says takes precedence over the registry.
        format=config.format or entry.formatting,
        columns={**entry.columns, **columns},
        tags={**entry.tags, **tags},
        max_rows=min(limits, default=None),
        registered=True,
        written=written,
    )


def _hub_files(entry: dataset_info.Entry) -> tuple[Path, ...]:
    hub, repository = ("hf", entry.hf_hub_url) if entry.hf_hub_url else ("ms", entry.ms_hub_url)
    assert repository is not None
    return HubDataset(hub, repository, entry.subset, entry.split, entry.revision, entry.folder).files()


def _not_found(path: Path, folder: Path | None) -> Proposal:
    names = [*EMBEDDED, *(dataset_info.read_registry(folder) if folder else {})]
    hint = did_you_mean(path.name, names)
    if not path.suffix:
        alternatives = f"known names: {', '.join(names)}; or give a path, hf:ORG/NAME or ms:ORG/NAME"
        return hint.within(f"no data set {path.name} (and no file {path}); {alternatives}{hint}")
    siblings = [file.name for file in sorted(path.parent.iterdir())] if path.parent.is_dir() else []
    near = did_you_mean(path.name, siblings)
    what = f"no file {path}; give a path, or {commands.NAME!r} for the embedded data set{near or hint}"
    return Proposal(what, str(path.with_name(near.instead)) if near.instead else hint.instead)


def source_labels(sources: Sequence[Source]) -> list[str]:
    """A name for each source; of files with the same name, their paths as far as they differ."""
    labels = file_labels([path for source in sources for path in source.files])
    names = Counter(source.name for source in sources)
    return [
        labels[source.files[0]] if names[source.name] > 1 and len(source.files) == 1 else source.name
        for source in sources
    ]


def file_labels(paths: Collection[Path]) -> dict[Path, str]:
    """The name of each file, with as many of its folders as tell it from the others.

    >>> file_labels([Path("/data/en/rows.csv"), Path("/data/de/rows.csv")])[Path("/data/de/rows.csv")]
    'de/rows.csv'
    """
    by_name: dict[str, set[Path]] = {}
    for path in paths:
        by_name.setdefault(path.name, set()).add(path)
    labels: dict[Path, str] = {}
    for path in paths:
        others = by_name[path.name] - {path}
        depth = 1
        while any(other.parts[-depth:] == path.parts[-depth:] for other in others):
            depth += 1
        labels[path] = "/".join(path.parts[-depth:])
    return labels


def joined_names(sources: Sequence[Source]) -> str:
    """One name for several data sets, as ``alpaca+commands``."""
    return "+".join(source.name for source in sources)
