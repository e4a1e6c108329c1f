"""The patterns in an adapter's config: PEFT compares them with every name of a model, and one that is made for it would
never be through.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from trainables.models.adapter_config import FILE_NAME, read_adapter_config
from trainables.models.folder import ModelError

SECONDS = 60.0  # a moment where nothing else runs
# Compares as PEFT does; in a process of its own, as nothing can end the comparison of a thread.
COMPARE = """
import json, re, sys
pattern, names = json.load(sys.stdin)
for name in names:
    re.match(pattern, name)
"""


def check_patterns(folder: Path, names: Iterable[str]) -> None:
    """Raises ``ModelError`` for the adapter in ``folder`` if a pattern of its config is none, or can't be compared with
    the ``names`` of a model's modules in a moment.
    """
    listed = list(names)
    for key, pattern in _patterns(read_adapter_config(folder)):
        command = [sys.executable, "-I", "-S", "-c", COMPARE]
        try:
            done = subprocess.run(
                command, input=json.dumps([pattern, listed]), capture_output=True, text=True, timeout=SECONDS
            )
        except subprocess.TimeoutExpired:
            why = f"can't be compared with the names of the model's layers within {SECONDS:g} seconds"
        else:
            if done.returncode == 0:
                continue
            why = (
                f"is no regular expression ({(done.stderr.strip().splitlines() or ['no reason'])[-1][:200]})"
            )
        raise ModelError(f"{folder / FILE_NAME}: {key} {why}. Put the adapter's own file there.")


def _patterns(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each pattern as PEFT puts it together, with its key. A plain name is none."""
    for key in ("target_modules", "exclude_modules"):
        if isinstance(value := config.get(key), str):
            yield key, f"(?:{value})$"
    for key in ("rank_pattern", "alpha_pattern"):
        for name in config.get(key) or ():
            if not _is_plain(name):
                yield f"{key}.{name[:50]}", rf"(.*\.)?({name})$"
    given = config.get("layers_pattern")
    for name in [given] if isinstance(given, str) else given or ():
        if not _is_plain(name):
            yield "layers_pattern", rf"(?:^|.*?\.){name}\.(\d+)\."


def _is_plain(name: str) -> bool:
    return name.replace(".", "").replace("_", "").isalnum()
