"""The options of ``paretune serve``: where it listens, which results it serves by which names, and the API key."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trainables.inference.result import Result
from trainables.storage.urls import is_url

APP_NAME = "paretune"  # of the Ray Serve application
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServeError(ValueError):
    """Why the API can't be started with these options."""


@dataclass(frozen=True)
class ServeOptions:
    """The address to listen on, and the replicas that answer, with the CPUs and GPUs of each."""

    host: str = "127.0.0.1"
    port: int = 8000
    replicas: int = 1
    cpus: int = 1
    gpus: float = 0
    address: str | None = None  # of a Ray cluster; ``None`` for this machine alone
    replace: bool = False  # what Paretune serves on the cluster already is shut down

    def require_key(self, key: str | None) -> None:
        """Raises :class:`ServeError` if other machines could reach the API without a key."""
        if self.host not in LOOPBACK and not key:
            raise ServeError(
                f"--host {self.host} can be reached by others: set PARETUNE_API_KEY, or give --api-key-file FILE"
            )

    def needs_loopback_names(self, key: str | None) -> bool:
        """Whether requests to other host names than this machine's own are refused (see ``access``)."""
        return self.host in LOOPBACK and not key

    def check_port_is_free(self) -> None:
        """Raises :class:`ServeError` if the port is in use on this machine; Ray Serve would print a stack trace."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            # As servers do: a port is free although connections of its last server are still being closed.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                raise ServeError(f"--host {self.host} --port {self.port}: {error.strerror}") from None

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/v1"


def model_names(texts: Sequence[str]) -> list[tuple[str, str]]:
    """(model name in requests, result) for each ``NAME=RESULT`` or ``RESULT``.

    Raises :class:`ServeError` if two results have the same name.

    >>> model_names(["best=runs/methods", "runs/methods:sft-full"])
    [('best', 'runs/methods'), ('runs/methods:sft-full', 'runs/methods:sft-full')]
    """
    models = []
    for text in texts:
        name, equals, result = text.partition("=")
        # An equals sign may belong to a path; a name has neither slashes nor colons.
        has_name = equals and name and "/" not in name and ":" not in name
        models.append((name, result) if has_name else (text, text))
    names = [name for name, _ in models]
    if duplicates := [name for name in names if names.count(name) > 1]:
        raise ServeError(f"two results are called {duplicates[0]}; give them different names: NAME=RESULT")
    return models


def portable_name(text: str, result: Result) -> str:
    """A name that means the same ``result``, which was resolved from ``text``, on every node and at any time, even if
    the best trial of its run changes meanwhile.
    """
    if result.trained_folder is None:
        run, colon, part = text.rpartition(":")
        # RUN:CELL of an untrained model: nodes need the run's absolute path.
        if colon and not is_url(text) and (Path(run) / "trials").is_dir():
            return f"{Path(run).resolve()}:{part}"
        return str(Path(text).resolve()) if Path(text).is_dir() else text
    if not is_url(text):
        return str(result.trained_folder.resolve())
    run = text if text.count(":") == 1 else text.rpartition(":")[0]  # the scheme of a URL has a colon too
    # The folder is called model or checkpoint-STEP.
    _, dash, step = result.trained_folder.name.partition("-")
    return f"{run}:{result.trained_folder.parent.name}{f'@{step}' if dash else ''}"


def read_key(path: Path | None, environment: str | None) -> str | None:
    """The API key: the content of the file ``path``, else the value from the ``environment``.

    Raises :class:`ServeError` for a file that can't be read or is empty.
    """
    if path is None:
        return environment or None
    try:
        key = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ServeError(f"--api-key-file {path}: {error.strerror}") from None
    if not key:
        raise ServeError(f"--api-key-file {path} is empty")
    return key
