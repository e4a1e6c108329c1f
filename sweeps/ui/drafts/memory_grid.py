"""The memory that each method needs on a model, by ``paretune plan --model M --grid --json`` as a child."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.ui.children.command_line import operand
from trainables.models.folder import ModelError
from trainables.storage import files
from trainables.storage.home import home

CONFIG_BYTES = 2**18
MAX_NUMBERS = 6  # batch sizes, and lengths
SECONDS = 300.0


@dataclass(frozen=True)
class GridRequest:
    """A model by its name, its id on a hub or the file of its ``config.json``, with batch sizes and lengths."""

    model: str
    batches: tuple[int, ...]
    lengths: tuple[int, ...]

    @property
    def argv(self) -> Sequence[str]:
        """The arguments. Raises ``WrongArgument`` for a model that would be an option."""
        batches = [part for batch in self.batches for part in ("--batch-size", str(batch))]
        lengths = [part for length in self.lengths for part in ("--cutoff", str(length))]
        return ["plan", "--grid", "--json", "--model", operand(self.model), *batches, *lengths]


def numbers(values: Any, most: int) -> tuple[int, ...]:
    """Whole numbers of a request. Raises ``ValueError``."""
    found = tuple(dict.fromkeys(values)) if isinstance(values, list) else ()
    if not 1 <= len(found) <= MAX_NUMBERS or not all(
        isinstance(each, int) and not isinstance(each, bool) and 1 <= each <= most for each in found
    ):
        raise ValueError("no such numbers")
    return tuple(sorted(found))


def keep_config(text: str) -> Path:
    """Keeps a ``config.json`` that somebody pasted, and returns its path. Raises ``ModelError`` for what is none."""
    if len(text.encode("utf-8", "replace")) > CONFIG_BYTES:
        raise ModelError(f"a config.json has at most {CONFIG_BYTES:,} bytes")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"this is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError("a config.json is a JSON object, with model_type and sizes")
    content = json.dumps(config, sort_keys=True, indent=1)
    digest = hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:16]
    path = home() / "ui" / "configs" / digest / "config.json"
    files.write_text(path, content)
    return path
