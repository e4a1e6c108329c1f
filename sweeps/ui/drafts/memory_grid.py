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
    given = values if isinstance(values, list) else []
    wrong = any(type(each) is not int or not 1 <= each <= most for each in given)
    if wrong or not 1 <= len(set(given)) <= MAX_NUMBERS:
        raise ValueError(f"one to {MAX_NUMBERS} whole numbers from 1 to {most} are expected")
    return tuple(sorted(set(given)))


def keep_config(text: str) -> Path:
    """Keeps a ``config.json`` that somebody pasted, and returns its path. Raises ``ModelError`` for other texts."""
    if len(text.encode("utf-8", "replace")) > CONFIG_BYTES:
        raise ModelError(f"a config.json has at most {CONFIG_BYTES:,} bytes")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"this is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ModelError("a config.json is a JSON object, with model_type and sizes")
    content = json.dumps(config, sort_keys=True, indent=1)
    digest = hashlib.sha256(content.encode("utf-8", "replace")).hexdigest()[:16]
    path = home() / "ui" / "configs" / digest / "config.json"
    files.write_text(path, content)
    return path
