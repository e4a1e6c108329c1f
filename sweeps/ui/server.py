"""The UI's server: its pages behind the gate, on a socket that is open before its address is printed."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from sweeps.ui.access import Gate
from sweeps.ui.children import NotStarted
from sweeps.ui.context import Ui
from sweeps.ui.headers import add_security_headers
from sweeps.ui.pages import (
    chat,
    compare,
    evaluate,
    export,
    home,
    jobs,
    memory,
    models,
    new_sweep,
    run,
    run_actions,
    sign_in,
    trial,
)
from sweeps.ui.refusal import refused
from sweeps.ui.refusal_kinds import translations
from sweeps.ui.rendering import page, translator
from sweeps.ui.roots import OutsideRoot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Each module has the routes of one page.
PAGES: tuple[Any, ...] = (
    *(home, sign_in, run, run_actions, trial, compare),
    *(jobs, models, chat, evaluate, export, new_sweep, memory),
)
LEAVE_SECONDS = 3  # for open event streams when the server ends
OPEN_FILES = 16_384
THREADS = 64  # for looks at disks, which pages share: on few cores, asyncio's own are few
MAX_CONNECTIONS = 4096  # of all browsers; further ones are refused, so unfinished requests must not fill them


def application(ui: Ui) -> Starlette:
    """The whole UI as an ASGI application."""
    static = resources.files("sweeps.ui") / "static"
    routes = [
        *(route for module in PAGES for route in module.routes()),
        Route("/static/plotly.min.js", _plotly),
        Route("/static/report.css", _report_style),
        Mount("/static", _Static(directory=str(static))),
    ]
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Gate, settings=ui.settings, sessions=ui.sessions),
            Middleware(GZipMiddleware, minimum_size=2048, compresslevel=4),
        ],
        exception_handlers={
            HTTPException: _http_error,
            OutsideRoot: _outside_root,
            NotStarted: _not_started,
            Exception: _unexpected,
        },
        lifespan=_lifespan(ui),
    )
    app.state.ui = ui
    return app


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ``OSError`` where the port is taken or the address isn't this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError:
        listening.close()
        raise
    listening.listen(128)
    return listening


def serve(ui: Ui, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serves until SIGINT or SIGTERM; calls ``ready`` once pages are answered."""
    _allow_open_files()
    new_server(ui, ready).run(sockets=[listening])


def new_server(ui: Ui, ready: Callable[[], None]) -> uvicorn.Server:
    """The server, which calls ``ready`` once pages are answered."""
    config = uvicorn.Config(
        application(ui),
        http="h11",  # unlike httptools, it limits the size of headers and refuses a request that names two hosts
        limit_concurrency=MAX_CONNECTIONS,
        h11_max_incomplete_event_size=64 * 1024,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        root_path=ui.settings.root_path,
        timeout_graceful_shutdown=LEAVE_SECONDS,
    )
    return _Server(config, ready, ui)


def _allow_open_files() -> None:
    """As many open connections as the system lets this process have: some allow 1,024 at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ui: Ui) -> None:
        super().__init__(config)
        self._ready, self._ui = ready, ui

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # Requests that wait for a command are answered, and not ended with an error.
        await self._ui.jobs.close()
        await super().shutdown(sockets)


def _lifespan(ui: Ui) -> Callable[[Starlette], Any]:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ui")
        asyncio.get_running_loop().set_default_executor(threads)
        try:
            yield
        finally:
            await asyncio.gather(*ui.snapshots.close(), return_exceptions=True)
            await ui.jobs.close()
            await ui.chats.close()

    return lifespan


class _Static(StaticFiles):
    """Our scripts and styles. Browsers keep them, and ask each time whether they have changed."""

    def file_response(self, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(*arguments, **options)
        response.headers["cache-control"] = "no-cache"
        return response


async def _report_style(request: Request) -> Response:
    """The report's style sheet: report and UI have the same colours and tables."""
    path = resources.files("reports") / "templates" / "style.css"
    return FileResponse(str(path), media_type="text/css", headers={"cache-control": "no-cache"})


async def _plotly(request: Request) -> Response:
    """Plotly's script out of its own package."""
    path = plotly_script()
    headers = {"cache-control": "private, max-age=86400"}
    return FileResponse(path, media_type="text/javascript", headers=headers)


def plotly_script() -> Path:
    """Where the installed plotly package keeps its script. The package itself isn't imported, which takes seconds."""
    from importlib.util import find_spec

    specification = find_spec("plotly")
    if specification is None or specification.origin is None:
        raise HTTPException(500, "the package plotly is missing: pip install plotly")
    return Path(specification.origin).parent / "package_data" / "plotly.min.js"


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, str(error.detail))


async def _outside_root(request: Request, error: Exception) -> Response:
    return _answer(request, 403, str(error))


async def _not_started(request: Request, error: Exception) -> Response:
    return _answer(request, 503, str(error))


async def _unexpected(request: Request, error: Exception) -> Response:
    response = _answer(request, 500, f"{type(error).__name__}: the server's terminal shows where")
    add_security_headers(response.headers)  # this answer doesn't pass the gate
    return response


def _answer(request: Request, status: int, message: str) -> Response:
    """An error as a page to people, and as JSON to scripts."""
    if "text/html" in request.headers.get("accept", "") and request.method == "GET":
        t = translator(request)
        key = f"common.error_{status}"
        title = t(key) if status in (403, 404) else t("common.error")
        message = translations(message).get(t.language, message)
        return page(request, "error.html", title=title, status=status, message=message)
    return refused(status, str(status), message)
