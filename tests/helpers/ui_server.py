"""A UI that is served on loopback by a thread of the test, as its own process would serve it."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sweeps.ui.context import Ui
from sweeps.ui.server import new_server, open_socket
from tests.helpers.ui_children import wait_for


@contextmanager
def served(ui: Ui) -> Iterator[str]:
    """The address of a UI, which is served until the block ends."""
    listening = open_socket("127.0.0.1", 0)
    port: int = listening.getsockname()[1]
    ready = threading.Event()
    server = new_server(
        dataclasses.replace(ui, settings=dataclasses.replace(ui.settings, port=port)), ready.set
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    wait_for(ready.is_set)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(15)
        assert not thread.is_alive(), "the server did not end"
