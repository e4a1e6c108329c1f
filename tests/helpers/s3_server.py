"""A local S3 server for tests, which can be down as real ones are."""

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
    """A running server. While it is ``down``, it answers every request with 503, and counts it as ``refused``."""

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
        """The environment variables that S3 clients need to use this server."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def s3() -> Iterator[Server]:
    """Runs a server with one bucket; within the block, S3 clients of this process use it."""
    import logging

    import s3fs
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = Server(DomainDispatcherApplication(create_backend_app))
    serving = make_server("127.0.0.1", 0, server, threaded=True)
    server.port = serving.server_port
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    previous = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        s3fs.S3FileSystem().mkdir(BUCKET)
        yield server
    finally:
        serving.shutdown()
        serving.server_close()
        s3fs.S3FileSystem.clear_instance_cache()
        for name, value in previous.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def copied(store: Store, folder: Path) -> Path:
    """Downloads all files of a store into ``folder``, and returns that."""
    entries = store.list()
    store.pull(entries, folder, entries)
    return folder
