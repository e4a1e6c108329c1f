"""The output folder of an export: what may be replaced, enough disk space, and that it is complete or not there."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from trainables.models.folder import ModelError
from trainables.storage import files
from trainables.storage.home import home
from trainables.system.byte_sizes import gib

# What an export writes, or a model's folder has. A folder with any other file is never replaced.
MODEL_FILES = (
    "*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py", "*.gguf", "Modelfile", "README.md", "LICENSE*",
    ".gitattributes", "additional_chat_templates",
)  # fmt: skip


class ExportFailed(RuntimeError):  # noqa: N818
    """The export could not be made, or is not what it should be; nothing of it is kept."""


@contextmanager
def new_output_folder(out: Path, force: bool, needed_bytes: int, sources: Sequence[Path]) -> Iterator[Path]:
    """Yields an empty folder beside ``out``, which replaces ``out`` when the block ends without an error.

    ``needed_bytes`` must be free on the disk; ``sources`` are the folders that the export reads. Removes first what a
    killed export left behind. Raises ``ModelError`` for what the user has to decide or fix.
    """
    out = out.expanduser().resolve()
    check_output(out, force, sources)
    with _locked(out):
        _remove_leftovers(out)
        _check_free_space(out, needed_bytes)
        with files.atomic_folder(out) as folder:
            yield folder


def check_output(out: Path, force: bool, sources: Sequence[Path] = ()) -> None:
    """Raises ``ModelError`` if ``out`` must not be written to or replaced."""
    out = out.expanduser().resolve()
    for source in sources:
        if out.is_relative_to(source.resolve()) or source.resolve().is_relative_to(out):
            raise ModelError(
                f"{out} is, contains or lies in a folder that the export reads; give another folder"
            )
    if out.exists() and not out.is_dir():
        raise ModelError(f"{out} is a file; give a folder to create")
    if not out.is_dir() or not any(out.iterdir()):
        return
    others = sorted(
        path.name for path in out.iterdir() if not any(fnmatch(path.name, pattern) for pattern in MODEL_FILES)
    )
    if others or not _holds_model(out):
        names = f" ({', '.join(others[:3])}{', ...' if len(others) > 3 else ''})" if others else ""
        raise ModelError(
            f"{out} holds other files than those of a model{names}, and --force replaces only folders that hold a "
            "model; give another folder"
        )
    # RUN/trials/TRIAL/model: the trial's config.json lies beside it.
    if (out.parent / "config.json").is_file():
        raise ModelError(f"{out} is the output of a trial, which is never replaced; give another folder")
    if not force:
        raise ModelError(f"{out} exists already; --force replaces it once the new one is complete")


def _holds_model(folder: Path) -> bool:
    described = any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
    return described and any(folder.glob("*.safetensors"))


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Allows one export to a folder at a time. The lock is released when its process ends, even if it is killed."""
    path = home() / "locks" / f"{files.sha256(str(out))[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.open_to_append(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ModelError(f"another export to {out} is in progress") from None
        yield


def _remove_leftovers(out: Path) -> None:
    """Removes what a killed export left beside ``out``, and puts back the folder that it had moved aside."""
    if not out.parent.is_dir():
        return
    # Exactly this folder's: `.out.v2.xxxxxxxx.tmp` belongs to an export to `out.v2`, which may be in progress.
    leftover = re.compile(rf"\.{re.escape(out.name)}\.\w{{8,16}}\.(tmp|old)")
    for path in sorted(path for path in out.parent.iterdir() if leftover.fullmatch(path.name)):
        # The killed export had moved the old folder aside, and not yet put the new one in its place.
        if path.suffix == ".old" and not out.exists():
            path.rename(out)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _check_free_space(out: Path, needed_bytes: int) -> None:
    parent = next(path for path in out.parents if path.is_dir())
    if not os.access(parent, os.W_OK):
        raise ModelError(f"{parent} can't be written to; give another folder")
    free = shutil.disk_usage(parent).free
    if free < needed_bytes:
        raise ModelError(
            f"{out} needs {gib(needed_bytes)}, and {parent} has {gib(free)} free; free some space, or give "
            "a folder on another disk"
        )
