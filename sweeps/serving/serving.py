"""Starting the API on Ray Serve, and ending it: what is under way is answered first."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.cluster import session
from trainables import redaction
from trainables.inference.result import Result
from trainables.model_folder import home
from trainables.urls import is_url

if TYPE_CHECKING:
    from sweeps.serving.replica import Served

NAME = "paretune"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LEAVE_SECONDS = 30.0  # that answers under way have when it is ended
STREAM_SECONDS = 3600.0  # that one answer may take


class NotServed(ValueError):  # noqa: N818
    """Why the API can't be started as asked."""


@dataclass(frozen=True)
class Where:
    """Where it listens, and how many replicas answer, each with so many CPUs and GPUs."""

    host: str = "127.0.0.1"
    port: int = 8000
    replicas: int = 1
    cpus: int = 1
    gpus: float = 0
    address: str | None = None  # of a Ray cluster; without one it is this machine alone

    def refuse_open(self, key: str | None) -> None:
        """Raises :class:`NotServed` for what others could reach without a key."""
        if self.host not in LOOPBACK and not key:
            raise NotServed(
                f"--host {self.host} can be reached by others: set PARETUNE_API_KEY, or give --api-key-file FILE"
            )


def names(texts: Sequence[str]) -> list[tuple[str, str]]:
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
        raise NotServed(f"two results are called {alike[0]}; tell them apart: NAME=RESULT")
    return found


def settled(text: str, result: Result) -> str:
    """A result that was found, written so that every node finds the same one, whatever the run does meanwhile."""
    if result.left is None:
        run, colon, part = text.rpartition(":")
        if colon and not is_url(text) and (Path(run) / "trials").is_dir():
            return f"{Path(run).resolve()}:{part}"
        return str(Path(text).resolve()) if Path(text).is_dir() else text
    if not is_url(text):
        return str(result.left.resolve())
    run = text if text.count(":") == 1 else text.rpartition(":")[0]
    _, dash, step = result.left.name.partition("-")
    return f"{run}:{result.left.parent.name}{f'@{step}' if dash else ''}"


def read_key(path: Path | None, environment: str | None) -> str | None:
    """The API key: what is in a file, else of the environment. Raises :class:`NotServed`."""
    if path is None:
        return environment or None
    try:
        key = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NotServed(f"--api-key-file {path}: {error.strerror}") from None
    if not key:
        raise NotServed(f"--api-key-file {path} is empty")
    return key


def run(served: Served, where: Where, say: Callable[[str], None]) -> None:
    """Serves until it is told to end (Ctrl-C, SIGTERM). Raises :class:`NotServed`, ``SpecError`` for the cluster."""
    where.refuse_open(served.key)
    _refuse_taken(where)
    own: dict[str, Any] = {} if where.address else {"num_cpus": max(1, where.replicas * where.cpus)}
    over = threading.Event()
    with _log() as log, session(log, where.address, **own), _up(served, where), _told(over):
        base = f"http://{f'[{where.host}]' if ':' in where.host else where.host}:{where.port}"
        say(f"serving {', '.join(name for name, _ in served.models)} at {base}/v1")
        over.wait()
        say("ending; what is under way is answered")


@contextmanager
def _up(served: Served, where: Where) -> Iterator[None]:
    from ray import serve
    from ray.serve.config import HTTPOptions
    from ray.serve.schema import LoggingConfig

    from sweeps.serving.replica import Api

    http = HTTPOptions(host=where.host, port=where.port, request_timeout_s=STREAM_SECONDS)
    quiet = LoggingConfig(log_level="ERROR", enable_access_log=False)
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(proxy_location="HeadOnly", http_options=http, logging_config=quiet)
    api: Any = Api
    deployment = api.options(
        num_replicas=where.replicas,
        ray_actor_options={"num_cpus": where.cpus, "num_gpus": where.gpus},
        max_ongoing_requests=served.most + served.waiting + 8,  # it refuses itself, in its own words
        graceful_shutdown_timeout_s=LEAVE_SECONDS,
        graceful_shutdown_wait_loop_s=0.5,
    )
    try:
        serve.run(deployment.bind(served), name=NAME, route_prefix="/", logging_config=quiet)
        yield
    except RuntimeError as error:
        raise NotServed(f"the models could not be started: {error}") from error
    finally:
        serve.delete(NAME)  # waits for replicas, which answer what they have begun; a shutdown alone wouldn't
        serve.shutdown()


@contextmanager
def _log() -> Iterator[redaction.Log]:
    """Where Ray's own noise goes: ``serve.log`` in the cache."""
    home().mkdir(parents=True, exist_ok=True)
    with (home() / "serve.log").open("a", encoding="utf-8") as file:
        yield redaction.Log(file)


@contextmanager
def _told(over: threading.Event) -> Iterator[None]:
    before = {each: signal.signal(each, lambda *_: over.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _refuse_taken(where: Where) -> None:
    """Raises :class:`NotServed` where somebody listens on the port already, which Ray Serve would say in a trace."""
    import socket

    kind = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    with socket.socket(kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((where.host, where.port))
        except OSError as error:
            raise NotServed(f"--host {where.host} --port {where.port}: {error.strerror}") from None
