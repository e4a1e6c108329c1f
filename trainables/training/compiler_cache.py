"""Where torch's compiler keeps what it has compiled: a folder that nobody else can write to, as its files are run.

By default they lie in a folder of /tmp with a known name, which another user may have made first.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from functools import cache
from pathlib import Path

import torch

from trainables.storage import files
from trainables.storage.home import home
from trainables.system import machine

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"  # a folder that the user has set there stays
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def use_private_cache() -> None:
    """Has torch's compiler keep its files in :func:`private_cache`; to be called before it is used."""
    os.environ.setdefault(VARIABLE, str(private_cache()))


@cache
def private_cache() -> Path:
    """A folder in the cache for this processor and torch; one of this process alone where others can write there.

    Compiled code is for one kind of processor, and the cache folder may be shared by several.
    """
    key = files.sha256(
        [torch.__version__, machine.describe_machine()["cpu_model"], machine.cpu_features().detail]
    )
    try:
        for folder in (home() / "compiled", home() / "compiled" / key[:16]):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not is_private(folder):
                return _of_this_process()
    except OSError:  # a cache that can't be written to
        return _of_this_process()
    return folder


def is_private(folder: Path) -> bool:
    """Whether a folder, and no link to one, belongs to this user, who alone can write to it."""
    info = folder.lstat()
    own = not hasattr(os, "getuid") or info.st_uid == os.getuid()
    return stat.S_ISDIR(info.st_mode) and own and not info.st_mode & OTHERS_WRITE


def _of_this_process() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="paretune-compiled-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
