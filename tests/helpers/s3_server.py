"""An S3 server on this machine, for as long as a test needs it, which can fail as real ones do."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainables.storage.url_store import Store

BUCKET = "paretune-tests"
DOWN = b"<?xml version='1.0'?><Error><Code>ServiceUnavailable</Code><Message>try later</Message></Error>"


@dataclass
class Server:
    """Where it is. While it is ``down`` it answers everything with 503. It forgets everything when it ends."""

    application: Callable[..., Iterable[bytes]]
    port: int = 0
    down: bool = False
    refused: int = 0

    def __call__(self, environment: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not self.down:
            return self.application(environment, start_response)
        self.refused += 1
        start_response("503 Service Unavailable", [("Content-Type", "application/xml")])
        return [DOWN]

    @property
    def environment(self) -> dict[str, str]:
        """What calling it takes."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def s3() -> Iterator[Server]:
    """A server with one bucket; this process calls it meanwhile."""
    import logging

    import s3fs
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    made = Server(DomainDispatcherApplication(create_backend_app))
    serving = make_server("127.0.0.1", 0, made, threaded=True)
    made.port = serving.server_port
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    before = {name: os.environ.get(name) for name in made.environment}
    os.environ.update(made.environment)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        s3fs.S3FileSystem().mkdir(BUCKET)
        yield made
    finally:
        serving.shutdown()
        serving.server_close()
        s3fs.S3FileSystem.clear_instance_cache()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def copied(store: Store, into: Path) -> Path:
    """All that is at a run's URL, as a run folder."""
    there = store.list()
    store.pull(there, into, there)
    return into
