"""``paretune ui``. Only typer is imported at the top: the command line imports this whenever it starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands.common_options import RUN
from sweeps.commands.errors import users_errors

if TYPE_CHECKING:
    from sweeps.ui.settings import UiSettings

KEY_VARIABLE = "PARETUNE_UI_KEY"


def add(app: typer.Typer) -> None:
    """Adds the command to an app, whose commands the UI starts."""

    @app.command(rich_help_panel=RUN)
    def ui(
        runs: Annotated[
            list[str] | None,
            typer.Option(
                help="Folder or URL that has runs. May be repeated. By default runs.", metavar="DIR"
            ),
        ] = None,
        data: Annotated[
            Path,
            typer.Option(help="Folder of specs and data files.", metavar="DIR", file_okay=False, exists=True),
        ] = Path(),
        port: Annotated[
            int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
        ] = 7860,
        host: Annotated[
            str, typer.Option(help=f"Address to listen on; anything but loopback requires {KEY_VARIABLE}.")
        ] = "127.0.0.1",
        allow_host: Annotated[
            list[str] | None,
            typer.Option(
                help="Further host name under which browsers reach the UI. May be repeated.", metavar="NAME"
            ),
        ] = None,
        root_path: Annotated[
            str,
            typer.Option(help="Path under which a proxy shows the UI, such as /paretune.", metavar="PATH"),
        ] = "",
        address: Annotated[
            str | None,
            typer.Option(help="Ray cluster for new sweeps: auto, or HOST:PORT. By default this machine."),
        ] = None,
        no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
    ) -> None:
        """Show sweeps in the browser: start, follow, steer and compare them, and chat with their models.

        Closing the browser or ending this command ends no sweep. Prints the address to open last.
        """
        from sweeps.ui.settings import UiSettings

        with users_errors(ValueError):
            settings = UiSettings(
                runs=tuple(_absolute(each) for each in runs or ["runs"]),
                data_folder=data.absolute(),
                host=host,
                port=port,
                root_path=_checked_root_path(root_path),
                address=address,
                allowed_hosts=tuple(allow_host or ()),
                key=_take_key(),
            )
            _require_key(settings)
            _serve(settings, app, browser=not no_browser)


def _take_key() -> str | None:
    """The key, removed from the environment, which all commands that the UI starts would inherit."""
    from trainables.system import redaction

    key = os.environ.pop(KEY_VARIABLE, None) or None
    if key is not None:
        redaction.hide(key)
    return key


def _serve(settings: UiSettings, app: typer.Typer, *, browser: bool) -> None:
    import dataclasses
    import errno

    from sweeps.ui.server import open_socket, serve
    from sweeps.ui.start import new_ui

    try:
        listening = open_socket(settings.host, settings.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"port {settings.port} is taken, perhaps by another UI; give another --port, or 0 for a free one"
            raise ValueError(message) from None
        raise ValueError(f"--host {settings.host}: {error.strerror or error}") from None
    settings = dataclasses.replace(settings, port=listening.getsockname()[1])
    ui = new_ui(settings, app)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{name}:{settings.port}{settings.root_path}/?token={ui.sessions.new_link()}"

    def ready() -> None:
        typer.echo("The UI is ready; Ctrl-C ends it, and no sweep. The link signs one browser in:", err=True)
        typer.echo(url)
        if browser and _has_window_system():
            _open_browser(url)

    serve(ui, listening, ready)


def _has_window_system() -> bool:
    """Whether a browser can show a window. Without one, Python would open a text browser in this terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_browser(url: str) -> None:
    """Opens the address by a thread, as some browsers are waited for until they end."""
    import threading
    import webbrowser

    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _require_key(settings: UiSettings) -> None:
    from sweeps.serving.access import is_loopback

    if not is_loopback(settings.host) and settings.key is None:
        raise ValueError(
            f"--host {settings.host}: others could reach the UI there; set the environment variable {KEY_VARIABLE} "
            "to a key that people sign in with, or leave --host at 127.0.0.1 and use an SSH tunnel"
        )


def _checked_root_path(path: str) -> str:
    """The path without a slash at its end. Raises ``ValueError`` for what is no path."""
    stripped = path.rstrip("/")
    if stripped and (not stripped.startswith("/") or "//" in stripped or "?" in stripped or "#" in stripped):
        raise ValueError(f"--root-path {path}: give a path such as /paretune")
    return stripped


def _absolute(place: str) -> str:
    from trainables.storage.urls import is_url

    return place if is_url(place) else str(Path(place).expanduser().absolute())
