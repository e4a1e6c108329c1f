"""What ``paretune serve`` was asked for: where it listens, what it serves by which name, and with which key."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.inference.result import Result
from trainables.storage.urls import is_url

NAME = "paretune"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServeError(ValueError):
    """Why the API can't be started as asked."""


@dataclass(frozen=True)
class ServeOptions:
    """Where it listens, and how many replicas answer, each with so many CPUs and GPUs."""

    host: str = "127.0.0.1"
    port: int = 8000
    replicas: int = 1
    cpus: int = 1
    gpus: float = 0
    address: str | None = None  # of a Ray cluster; without one it is this machine alone
    replace: bool = False  # what is served on the cluster already is ended

    def require_key(self, key: str | None) -> None:
        """Raises :class:`NotServed` for what others could reach without a key."""
        if self.host not in LOOPBACK and not key:
            raise ServeError(
                f"--host {self.host} can be reached by others: set PARETUNE_API_KEY, or give --api-key-file FILE"
            )

    def check_port_is_free(self) -> None:
        """Raises :class:`NotServed` where somebody listens here already, which Ray Serve would say in a trace."""
        kind = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                raise ServeError(f"--host {self.host} --port {self.port}: {error.strerror}") from None

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/v1"


def model_names(texts: Sequence[str]) -> list[tuple[str, str]]:
    """(the name in requests, the result) of ``NAME=RESULT`` or ``RESULT``. Raises :class:`NotServed` for two alike.

    >>> names(["best=runs/methods", "runs/methods:sft-full"])
    [('best', 'runs/methods'), ('runs/methods:sft-full', 'runs/methods:sft-full')]
    """
    found = []
    for text in texts:
        name, equals, rest = text.partition("=")
        is_named = equals and name and "/" not in name and ":" not in name
        found.append((name, rest) if is_named else (text, text))
    alike = [name for name, _ in found if [each for each, _ in found].count(name) > 1]
    if alike:
        raise ServeError(f"two results are called {alike[0]}; tell them apart: NAME=RESULT")
    return found


def portable_name(text: str, result: Result) -> str:
    """A result that was found, written so that every node finds the same one, whatever the run does meanwhile."""
    if result.trained_folder is None:
        run, colon, part = text.rpartition(":")
        if colon and not is_url(text) and (Path(run) / "trials").is_dir():
            return f"{Path(run).resolve()}:{part}"
        return str(Path(text).resolve()) if Path(text).is_dir() else text
    if not is_url(text):
        return str(result.trained_folder.resolve())
    run = text if text.count(":") == 1 else text.rpartition(":")[0]
    _, dash, step = result.trained_folder.name.partition("-")
    return f"{run}:{result.trained_folder.parent.name}{f'@{step}' if dash else ''}"


def read_key(path: Path | None, environment: str | None) -> str | None:
    """The API key: what is in a file, else of the environment. Raises :class:`NotServed`."""
    if path is None:
        return environment or None
    try:
        key = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ServeError(f"--api-key-file {path}: {error.strerror}") from None
    if not key:
        raise ServeError(f"--api-key-file {path} is empty")
    return key
