"""Whether a tracker's server can be reached, and hence whether W&B's runs are recorded online or offline."""

from __future__ import annotations

import os
import socket
import threading
from queue import Empty, SimpleQueue
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sweeps.spec.problems import Problem, SpecError
from trainables.system.capabilities import WANDB_OFFLINE, wandb_key

Mode = Literal["online", "offline"]
CONNECT_SECONDS = 2.0
DEFAULT_SERVER = "https://api.wandb.ai"


def choose_mode(setting: Literal["auto", "offline", "online"]) -> tuple[Mode, str]:
    """The mode for the spec's setting and the reason for it; takes at most :data:`CONNECT_SECONDS`, never prompts.

    Raises ``SpecError`` if ``online`` is required and impossible.
    """
    if setting == "offline" or offline_by_variable():
        return "offline", "as requested; `wandb sync` uploads the runs later"
    found = obstacle()
    if found is None:
        return "online", "logged in"
    if setting == "online":
        raise SpecError(Problem("tracking.wandb", "", f"online is impossible: {found}. Use auto or offline"))
    return "offline", f"{found}; `wandb sync` uploads the runs later"


def offline_by_variable() -> bool:
    """Whether the user's environment has W&B record offline, whatever else is asked for."""
    return os.environ.get("WANDB_MODE") in WANDB_OFFLINE


def obstacle() -> str | None:
    """Why nothing can be sent to W&B now; ``None`` where it can. Takes at most :data:`CONNECT_SECONDS`."""
    if wandb_key() is None:
        return "no API key on this machine (`wandb login`)"
    return None if server_reachable() else "its server can't be reached"


def wandb_server() -> str:
    """The address of W&B's server."""
    return os.environ.get("WANDB_BASE_URL") or DEFAULT_SERVER


def server_reachable() -> bool:
    """Whether W&B's server accepts a connection."""
    return is_reachable(wandb_server())


def is_reachable(address: str) -> bool:
    """Whether a server, or the proxy before it, accepts a connection within :data:`CONNECT_SECONDS`."""
    url = urlsplit(address)
    # A client goes through the proxy that the environment names, so that one has to answer.
    proxy = None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)
    target = urlsplit(proxy) if proxy else url
    port = target.port or (443 if target.scheme == "https" else 80)
    connected: SimpleQueue[bool] = SimpleQueue()
    # In a thread, because resolving a host name has no time limit.
    threading.Thread(target=_connect, args=(target.hostname or "", port, connected), daemon=True).start()
    try:
        return connected.get(timeout=CONNECT_SECONDS)
    except Empty:
        return False


def _connect(host: str, port: int, connected: SimpleQueue[bool]) -> None:
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError:
        connected.put(False)
    else:
        connected.put(True)
