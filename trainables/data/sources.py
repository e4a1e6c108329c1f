"""Where rows are: what a spec's ``data.train`` names, as files and how to read them.

A name is looked for among the embedded data sets, then in the folder's ``dataset_info.json``; ``hf:`` and ``ms:``
are hubs; anything else is a path: a file, a folder of files, or a glob.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.data import dataset_info
from trainables.data.data_files import files_of
from trainables.data.embedded import commands
from trainables.data.errors import DataError
from trainables.data.hub_datasets import HUBS, DataHub
from trainables.storage.files import leads_out
from trainables.system.suggestions import did_you_mean

if TYPE_CHECKING:
    from trainables.config.data import DataConfig

EMBEDDED = (commands.NAME,)


@dataclass(frozen=True)
class Source:
    """One data set: its files, or the name of an embedded one."""

    name: str
    files: tuple[Path, ...] = ()
    embedded: bool = False
    format: str | None = None  # None: told from the columns
    columns: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    most: int | None = None  # rows taken at most
    registered: bool = False

    @property
    def exact(self) -> bool:
        """Whether each prompt has one right answer."""
        return self.embedded and commands.EXACT


def resolve(name: str, config: DataConfig) -> Source:
    """What a name in a spec stands for. Raises :class:`DataError` if it is nowhere."""
    own: dict[str, object] = {"format": config.format, "columns": config.columns, "most": config.max_samples}
    if name in EMBEDDED:
        return Source(name, embedded=True, most=config.max_samples)
    if config.folder is not None and (found := dataset_info.entry(config.folder, name)) is not None:
        return _registered(found, config)
    if (hub := _hub(name)) is not None:
        return Source(name, hub.files(), **own)  # type: ignore[arg-type]
    path = _placed(Path(name).expanduser(), config.folder)
    if not path.exists() and not any(mark in name for mark in "*?["):
        raise DataError(_nowhere(name, path, config.folder))
    return Source(path.name, tuple(files_of(path)), **own)  # type: ignore[arg-type]


def exists(name: str, config: DataConfig) -> bool:
    """Whether there is such data here at all, whatever is in it."""
    try:
        resolve(name, config)
    except DataError:
        return False
    return True


def is_hub(name: str) -> bool:
    return name.partition(":")[0] in HUBS and ":" in name


def _hub(name: str) -> DataHub | None:
    return DataHub.parse(name) if is_hub(name) else None


def _placed(path: Path, folder: Path | None) -> Path:
    return path if path.is_absolute() or folder is None else folder / path


def _registered(found: dataset_info.Entry, config: DataConfig) -> Source:
    if found.file_name is not None and config.folder is not None:
        # The list may be somebody else's, and what it names is trained on, shown in the report and sent to W&B.
        if leads_out(found.file_name):
            raise DataError(
                f"{found.where}: file_name {found.file_name!r} leads out of {config.folder}; move or link the file "
                f"there, or name it in the spec itself: data: {{train: {found.file_name}}}"
            )
        path = _placed(Path(found.file_name), config.folder)
        if not path.exists():
            raise DataError(f"{found.where}: file_name {found.file_name}: no such file in {config.folder}")
        paths = tuple(files_of(path))
    else:
        paths = _from_hubs(found)
    limits = [limit for limit in (found.num_samples, config.max_samples) if limit is not None]
    return Source(
        name=found.name,
        files=paths,
        format=config.format or found.formatting,
        columns={**found.columns, **config.columns},
        tags=found.tags,
        most=min(limits, default=None),
        registered=True,
    )


def _from_hubs(found: dataset_info.Entry) -> tuple[Path, ...]:
    hub, repository = ("hf", found.hf_hub_url) if found.hf_hub_url else ("ms", found.ms_hub_url)
    assert repository is not None
    return DataHub(hub, repository, found.subset, found.split, folder=found.folder).files()


def _nowhere(name: str, path: Path, folder: Path | None) -> str:
    known = [*EMBEDDED, *(dataset_info.read(folder) if folder else {})]
    hint = did_you_mean(path.name, known)
    if not path.suffix:
        where = f"known names: {', '.join(known)}; or give a path, hf:ORG/NAME or ms:ORG/NAME"
        return f"no data set {path.name} (nor a file {path}); {where}{hint}"
    beside = [each.name for each in sorted(path.parent.iterdir())] if path.parent.is_dir() else []
    hint = did_you_mean(path.name, beside) or hint
    return f"no file {path}; give a path, or {commands.NAME!r} for the embedded data set{hint}"


def described(sources: Sequence[Source]) -> str:
    """What the data sets are called together."""
    return "+".join(source.name for source in sources)
