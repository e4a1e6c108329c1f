"""What a UI bears: unfinished requests, very many streams, headers without end, two hosts."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

from tests.helpers.ui_children import wait_for
from tests.helpers.ui_processes import Start, UiProcess

HTML = {"accept": "text/html"}


def test_unfinished_requests_and_very_many_streams_hold_up_no_page(start: Start) -> None:
    ui = start()
    port = int(ui.url.rsplit(":", 1)[1].strip("/"))
    cookie = "; ".join(f"{name}={value}" for name, value in ui.browser.cookies.items())
    stream = (
        f"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nCookie: {cookie}\r\n\r\n"
    )
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(700)]
        for number, each in enumerate(opened):
            each.sendall(b"GET / HTTP/1.1\r\nHost: 127.0" if number < 300 else stream.encode())
        began = time.monotonic()
        answers = [ui.browser.get("/", headers=HTML).status_code for _ in range(3)]
        assert answers == [200, 200, 200]
        assert time.monotonic() - began < 20
        refused = ui.browser.get("/events")
        assert refused.status_code == 503
        assert refused.json()["error"]["key"] == "streams"
    wait_for(lambda: stream_opens(ui), 60)


def stream_opens(ui: UiProcess) -> bool:
    with ui.browser.stream("GET", "/events") as stream:
        return stream.status_code == 200


def test_a_header_without_end_is_refused(start: Start) -> None:
    ui = start()
    port = int(ui.url.rsplit(":", 1)[1].strip("/"))
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 200_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n")
        assert connection.recv(100).startswith((b"HTTP/1.1 400", b"HTTP/1.1 403"))
