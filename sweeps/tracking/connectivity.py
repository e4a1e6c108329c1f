"""Whether W&B can be reached, and so whether runs are sent at once or kept."""

from __future__ import annotations

import os
import socket
import threading
from queue import Empty, SimpleQueue
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sweeps.spec.problems import Problem, SpecError
from trainables.system.capabilities import wandb_key

Mode = Literal["online", "offline"]
CONNECT_SECONDS = 2.0


def mode_for(wanted: Literal["auto", "offline", "online"]) -> tuple[Mode, str]:
    """What to do, and why in words; within :data:`CONNECT_SECONDS`, and without asking anybody anything.

    Raises ``SpecError`` where ``online`` was asked for by name and can't be.
    """
    if wanted == "offline" or os.environ.get("WANDB_MODE") == "offline":
        return "offline", "as asked; `wandb sync` sends the runs later"
    hurdle = None
    if wandb_key() is None:
        hurdle = "no API key here (`wandb login`)"
    elif not reachable():
        hurdle = "its server can't be reached"
    if hurdle is None:
        return "online", "logged in"
    if wanted == "online":
        raise SpecError(Problem("tracking", "tracking.wandb", f"online, but {hurdle}. Use auto or offline"))
    return "offline", f"{hurdle}; `wandb sync` sends the runs later"


def reachable() -> bool:
    """Whether something answers where W&B would call, or at the proxy on the way there."""
    url = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    proxy = None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)
    target = urlsplit(proxy) if proxy else url
    port = target.port or (443 if target.scheme == "https" else 80)
    answers: SimpleQueue[bool] = SimpleQueue()
    # In a thread of its own: looking a name up has no time limit.
    threading.Thread(target=_call, args=(target.hostname or "", port, answers), daemon=True).start()
    try:
        return answers.get(timeout=CONNECT_SECONDS)
    except Empty:
        return False


def _call(host: str, port: int, answers: SimpleQueue[bool]) -> None:
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError:
        answers.put(False)
    else:
        answers.put(True)
