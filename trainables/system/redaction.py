"""Removes secrets from texts: errors and commands may contain them, and are recorded and shown to others.

>>> redacted("GET https://ada:pw@hub/x?sig=4f2a&page=2 failed")
'GET https://***@hub/x?sig=***&page=2 failed'
"""

from __future__ import annotations

import netrc
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

HIDDEN = "***"
MIN_SECRET = 8  # characters: hiding "token" or "1" would only spoil texts
MIN_LINE = 16  # characters of a line of a secret that has several, as a private key does
SECRET_NAMES = re.compile(
    r"(?:^|_)(?:KEYS?|TOKENS?|SECRETS?|PASS|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|CONNECTION_STRING|SAS|PAT)(?:_|$)",
    re.IGNORECASE,
)
# A password may contain a slash, as those of AWS do.
URL_CREDENTIALS = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^/\s?#'\"]+|[^\s@:'\"]*:[^\s@'\"]*)@")
URL_PARAMETERS = re.compile(
    r"([?&;](?:[\w-]*(?:signature|token|credential|secret|password|api[_-]?key|access[_-]?key[\w-]*)|sig|key|pwd))"
    r"=[^&\s'\"]+",
    re.IGNORECASE,
)
BEARER_TOKENS = re.compile(r"((?:authorization\W+\w+|\bbearer)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)

_HIDDEN_VALUES = set[str]()  # of variables that were removed from the environment


def hide(value: str) -> None:
    """From now on a secret that is not, or no longer, in the environment is hidden, too."""
    _HIDDEN_VALUES.add(value)


def redacted(text: str) -> str:
    """``text`` without the secrets of the environment and of this user's files, and without credentials in URLs."""
    # The longest first: one secret may contain another.
    for secret in sorted(set(_secrets()), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = URL_CREDENTIALS.sub(rf"\1{HIDDEN}@", text)
    text = URL_PARAMETERS.sub(rf"\1={HIDDEN}", text)
    return BEARER_TOKENS.sub(rf"\1{HIDDEN}", text)


def redacted_values(value: Any) -> Any:
    """``value`` with every text in its lists and mappings redacted."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: redacted_values(item) for key, item in value.items()}
    return [redacted_values(item) for item in value] if isinstance(value, list | tuple) else value


class RedactedFile:
    """A text file for logging, which redacts whatever is written to it."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    @property
    def closed(self) -> bool:
        return self.file.closed

    def write(self, text: str) -> int:
        return self.file.write(redacted(text))

    def flush(self) -> None:
        self.file.flush()


def _secrets() -> Iterator[str]:
    for value in (*_in_environment(), *_HIDDEN_VALUES, *_in_files()):
        lines = [line.strip() for line in value.splitlines()]
        long_lines = [line for line in lines if len(line) >= MIN_LINE] if len(lines) > 1 else []
        for secret in (value.strip(), *long_lines):
            if len(secret) >= MIN_SECRET:
                # Within a URL the same secret is percent-encoded.
                yield from (secret, quote(secret, safe=""))


def _in_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        # A path to a file with a secret is no secret.
        if SECRET_NAMES.search(name) and not value.startswith(("/", "~", ".")):
            yield value


def _in_files() -> Iterator[str]:
    """The secrets that ``hf auth login``, ``wandb login`` and Ray store in the home folder."""
    hub_token = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "token"
    paths = (
        os.environ.get("HF_TOKEN_PATH") or hub_token,
        os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token",
    )
    for path in paths:
        try:
            yield Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, RuntimeError, ValueError):
            continue
    try:
        hosts = netrc.netrc(Path(os.environ.get("NETRC") or "~/.netrc").expanduser()).hosts
    except (OSError, RuntimeError, ValueError, netrc.NetrcParseError):
        return
    yield from (password for _, _, password in hosts.values() if password)
