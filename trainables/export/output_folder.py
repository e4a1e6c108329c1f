"""The folder that an export goes to: what may be replaced, whether there is room, and that it is whole or not there."""

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

# What an export writes, or a model's folder has. Anything else is somebody's, and isn't replaced.
OURS = (
    "*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py", "*.gguf", "Modelfile", "README.md", "LICENSE*",
    ".gitattributes", "additional_chat_templates",
)  # fmt: skip


class ExportFailed(RuntimeError):  # noqa: N818
    """What was made is not what it should be, or could not be made; nothing of it is kept."""


@contextmanager
def new_output_folder(out: Path, force: bool, room: int, sources: Sequence[Path]) -> Iterator[Path]:
    """Yields an empty folder beside ``out``; on a clean exit it takes the place of ``out``.

    ``room`` bytes must be free; ``sources`` are the folders that the export is made from. What a killed export left
    behind goes first. Raises ``ModelError`` for what the user has to decide or mend.
    """
    out = out.expanduser().resolve()
    check_output(out, force, sources)
    with _alone(out):
        _clear(out)
        _refuse_full(out, room)
        with files.atomic_folder(out) as folder:
            yield folder


def check_output(out: Path, force: bool, sources: Sequence[Path] = ()) -> None:
    """Raises ``ModelError`` where ``out`` must not be written to."""
    out = out.expanduser().resolve()
    for source in sources:
        if out.is_relative_to(source.resolve()) or source.resolve().is_relative_to(out):
            raise ModelError(f"{out} is what the export is made from, or lies in it; give another folder")
    if out.exists() and not out.is_dir():
        raise ModelError(f"{out} is a file; give a folder that is to be made")
    if not out.is_dir() or not any(out.iterdir()):
        return
    strangers = sorted(path.name for path in out.iterdir() if not _is_ours(path.name))
    if strangers or not _holds_model(out):
        named = f" ({', '.join(strangers[:3])}{', ...' if len(strangers) > 3 else ''})" if strangers else ""
        raise ModelError(
            f"{out} has other files in it than a model's{named}, and --force replaces only folders that hold a "
            "model; give another folder"
        )
    if (out.parent / "config.json").is_file():
        raise ModelError(f"{out} is what a trial left, and isn't replaced; give another folder")
    if not force:
        raise ModelError(f"{out} is there already; --force replaces it once the new one is whole")


def _is_ours(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in OURS)


def _holds_model(folder: Path) -> bool:
    described = any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
    return described and any(folder.glob("*.safetensors"))


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One export to a folder at a time; the lock ends with its process, however that ends."""
    path = home() / "locks" / f"{files.sha256(str(out))[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ModelError(f"another export to {out} is under way") from None
        yield


def _clear(out: Path) -> None:
    """Removes what an export that was killed left beside ``out``, and puts back what it had moved aside."""
    if not out.parent.is_dir():
        return
    # Exactly its own: `.out.v2.xxxxxxxx.tmp` is that of another folder, and may be in the making.
    own = re.compile(rf"\.{re.escape(out.name)}\.\w{{8}}\.(tmp|old)")
    for path in sorted(path for path in out.parent.iterdir() if own.fullmatch(path.name)):
        if path.suffix == ".old" and not out.exists():
            path.rename(out)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _refuse_full(out: Path, room: int) -> None:
    there = next(path for path in out.parents if path.is_dir())
    if not os.access(there, os.W_OK):
        raise ModelError(f"{there} can't be written to; give another folder")
    free = shutil.disk_usage(there).free
    if free < room:
        raise ModelError(
            f"{out} would take {gib(room)}, and {there} has {gib(free)} free; make room, or give "
            "a folder on another disk"
        )
