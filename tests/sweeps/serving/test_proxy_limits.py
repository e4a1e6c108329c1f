"""What the HTTP proxy of `paretune serve` refuses before a request reaches a model: size, time, connections."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from typing import Any

import httpx
import pytest
import uvicorn

from sweeps.serving import proxy_limits
from sweeps.serving.proxy_limits import Application, LimitedBody, LimitedConnection, Receive, Send
from tests.helpers.clusters import free_port

Scope = MutableMapping[str, Any]
SECONDS = 0.6


class Echo:
    """Answers a request with the number of bytes of its body; keeps what it received of the last one.

    ``early``: answers without reading the body.
    """

    def __init__(self) -> None:
        self.early = False
        self.received: list[Any] = []
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.received, more = [], not self.early
        self.headers = scope["headers"]
        while more:
            message = await receive()
            self.received.append(message)
            more = message.get("more_body", False)
        size = sum(len(message.get("body", b"")) for message in self.received)
        await send({"type": "http.response.start", "status": 401 if self.early else 200, "headers": []})
        await send({"type": "http.response.body", "body": str(size).encode()})


@pytest.fixture(scope="module")
def echo() -> Echo:
    return Echo()


@pytest.fixture(scope="module")
def port(echo: Echo) -> Iterator[int]:
    """A server with the limits, as Ray Serve's proxy is one."""
    limited: Application = LimitedBody(echo, 10_000, SECONDS)
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proxy_limits, "HEADER_SECONDS", SECONDS)
        patch.setattr(proxy_limits, "MAX_CONNECTIONS", 20)
        patch.setattr(proxy_limits, "MAX_SENT_BYTES", 50_000)
        options: dict[str, Any] = {"http": LimitedConnection, "lifespan": "off", "log_level": "critical"}
        server = uvicorn.Server(uvicorn.Config(limited, host="127.0.0.1", port=port, **options))  # type: ignore[arg-type]
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield port
        server.should_exit = True
        thread.join(10)


@pytest.fixture(autouse=True)
def reading(echo: Echo) -> None:
    echo.early = False


def closed_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionResetError:
        pass
    return True


def test_a_request_of_a_usual_size_passes_in_one_piece_or_in_chunks(port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    assert httpx.post(url, content=b"x" * 10_000).text == "10000"
    assert httpx.post(url, content=(b"x" * 1_000 for _ in range(10))).text == "10000"


@pytest.mark.parametrize("chunked", [True, False])
def test_a_request_that_is_too_large_is_refused_in_the_apis_format(port: int, chunked: bool) -> None:
    content: Any = (b"x" * 1_000 for _ in range(30)) if chunked else b"x" * 30_000
    response = httpx.post(f"http://127.0.0.1:{port}/", content=content)
    assert (response.status_code, response.headers["connection"]) == (413, "close")
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_an_endless_request_is_refused_when_its_bytes_reach_the_limit(port: int, echo: Echo) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        with suppress(OSError):  # the connection is reset, or closed
            while sent < 500_000_000:
                connection.sendall(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
    assert sent < 100_000_000  # what the sockets' buffers take
    assert sum(len(message.get("body", b"")) for message in echo.received) <= 10_000 + 2 * 65536


@pytest.mark.parametrize(
    ("begin", "line"),
    [
        ("1\r\n{\r\n0\r\n", "name: value\r\n" * 1000),
        ("1\r\n{\r\n0\r\nx: ", "a" * 10_000),
        ("1;", "a" * 10_000),
        ("", "1\r\n{\r\n" * 1000),
    ],
)
def test_what_is_sent_around_a_body_is_limited_too(port: int, begin: str, line: str) -> None:
    sent = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n" + begin.encode()
        )
        with suppress(OSError):  # the connection is reset, or closed
            while sent < 50_000_000:
                connection.sendall(line.encode())
                sent += len(line)
    assert sent < 20_000_000  # what the sockets' buffers take


def test_headers_after_a_body_are_not_kept(port: int, echo: Echo) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        connection.sendall(b"1\r\n{\r\n0\r\nauthorization: later\r\n\r\n")
        connection.settimeout(5)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    assert echo.headers == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]


def test_a_request_that_is_refused_is_one_whose_client_left(port: int, echo: Echo) -> None:
    httpx.post(f"http://127.0.0.1:{port}/", content=(b"x" * 6_000 for _ in range(2)))
    assert echo.received[-1]["type"] == "http.disconnect"


def test_the_rest_of_a_request_that_was_answered_early_is_not_read(port: int, echo: Echo) -> None:
    echo.early = True
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\n")
        connection.settimeout(5)
        assert b" 401 " in connection.recv(65536)
        assert closed_within(connection, 5)


@pytest.mark.parametrize("start", [b"", b"POST / HT", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" + b"POST / HT"])
def test_a_connection_whose_headers_do_not_come_is_closed(port: int, start: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(start)
        assert closed_within(connection, 10 * SECONDS)


def test_a_body_that_trickles_is_refused_after_its_time(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\nx")
        connection.settimeout(10 * SECONDS)
        head, _, body = connection.recv(65536).partition(b"\r\n\r\n")
        assert b" 408 " in head
        assert closed_within(connection, 5)
        assert b"is sent within" in body or body == b""


def test_headers_without_end_close_the_connection(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        sent = 0
        with suppress(OSError):
            for number in range(50_000):
                connection.sendall(b"x-%d: " % number + b"y" * 4_000 + b"\r\n")
                sent += 4_000
    assert sent < 100_000_000


def test_connections_beyond_the_maximum_are_turned_away_until_others_end(port: int) -> None:
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
    time.sleep(0.1)
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 503
    assert all(closed_within(each, 10 * SECONDS) for each in held)
    assert httpx.get(f"http://127.0.0.1:{port}/").status_code == 200


def test_a_connection_that_waits_for_its_answer_is_kept(port: int) -> None:
    """Time limits are for what clients send; an answer may take an hour."""

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(3 * SECONDS)
        answers.append((message["type"], waiting.done()))
        waiting.cancel()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    answers: list[Any] = []
    sent: list[Any] = []
    requests: list[Any] = [{"type": "http.request", "body": b"{}", "more_body": False}]

    async def receive() -> Any:
        if not requests:
            await asyncio.sleep(3600)
        return requests.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "headers": []}
    asyncio.run(LimitedBody(slow, 10_000, SECONDS)(scope, receive, send))
    assert answers == [("http.request", False)]
    assert sent[0]["status"] == 200
    assert json.loads(sent[1]["body"]) == {}
