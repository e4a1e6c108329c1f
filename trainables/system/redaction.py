"""Texts without the secrets in them: what an error quotes or a command was given is written down, and shown to others.

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
SHORTEST = 8  # characters of a secret: hiding "token" or "1" would only spoil texts
SHORTEST_LINE = 16  # of one that has several, as a private key does
NAMES = re.compile(
    r"(?:^|_)(?:KEYS?|TOKENS?|SECRETS?|PASS|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|CONNECTION_STRING|SAS|PAT)(?:_|$)",
    re.IGNORECASE,
)
# A password may hold a slash, as AWS's do.
USER = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)(?:[^/\s?#'\"]+|[^\s@:'\"]*:[^\s@'\"]*)@")
SIGNED = re.compile(
    r"([?&;](?:[\w-]*(?:signature|token|credential|secret|password|api[_-]?key|access[_-]?key[\w-]*)|sig|key|pwd))"
    r"=[^&\s'\"]+",
    re.IGNORECASE,
)
BEARER = re.compile(r"((?:authorization\W+\w+|\bbearer)\s+)[\w.~+/=-]{8,}", re.IGNORECASE)


def redacted(text: str) -> str:
    """``text`` without the secrets that the environment and this user's files hold, and without URLs' credentials."""
    # The longest first: one may hold another.
    for secret in sorted(set(_known()), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = USER.sub(rf"\1{HIDDEN}@", text)
    text = SIGNED.sub(rf"\1={HIDDEN}", text)
    return BEARER.sub(rf"\1{HIDDEN}", text)


def tree(value: Any) -> Any:
    """The same of every text in lists and mappings."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, dict):
        return {key: tree(item) for key, item in value.items()}
    return [tree(item) for item in value] if isinstance(value, list | tuple) else value


class Log:
    """A file that others write to and that keeps no secrets; as much of one as logging needs."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    @property
    def closed(self) -> bool:
        return self.file.closed

    def write(self, text: str) -> int:
        return self.file.write(redacted(text))

    def flush(self) -> None:
        self.file.flush()


def _known() -> Iterator[str]:
    for value in (*_in_environment(), *_in_files()):
        lines = value.splitlines()
        several = (
            [line.strip() for line in lines if len(line.strip()) >= SHORTEST_LINE] if len(lines) > 1 else []
        )
        for each in (value.strip(), *several):
            if len(each) >= SHORTEST:
                yield from (each, quote(each, safe=""))


def _in_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        # A path to a secret is none.
        if NAMES.search(name) and not value.startswith(("/", "~", ".")):
            yield value


def _in_files() -> Iterator[str]:
    """What ``hf auth login``, ``wandb login`` and Ray keep in the home folder."""
    hub = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface") / "token"
    named = (
        os.environ.get("HF_TOKEN_PATH") or hub,
        os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token",
    )
    for path in named:
        try:
            yield Path(path).expanduser().read_text(encoding="utf-8")
        except (OSError, RuntimeError, ValueError):
            continue
    try:
        hosts = netrc.netrc(Path(os.environ.get("NETRC") or "~/.netrc").expanduser()).hosts
    except (OSError, RuntimeError, ValueError, netrc.NetrcParseError):
        return
    yield from (password for _, _, password in hosts.values() if password)
