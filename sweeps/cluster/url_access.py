"""Whether files at a URL can be written, read and removed from the driver and from each node of a cluster."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from sweeps.cluster import remote_tasks
from sweeps.cluster.session import Answer, Node, ask
from trainables.storage.url_store import StorageError, Store
from trainables.storage.urls import EXTRAS
from trainables.system.capabilities import Capability

SECONDS = 10.0  # for which a failing store is tried again
PATIENCE_SECONDS = 60.0 + SECONDS  # a node's first worker process has to start
NAME = "run folder's URL"
PRIVATE_SCHEME = "memory"  # what is there is one process's own


def from_nodes(ray: Any, nodes: Sequence[Node], url: str) -> dict[Node, Capability]:
    """Whether each node can use ``url``; leaves no file there."""
    # What is wrong with the URL itself is told once, and not by every node.
    own_access = from_this_machine(url)
    if not own_access.works:
        return dict.fromkeys(nodes, Capability(NAME, False, f"on the driver's machine: {own_access.detail}"))
    token = secrets.token_hex(6)
    name, store = remote_tasks.marker_name(token), Store(url, SECONDS)
    store.write(name, token.encode())
    try:
        answers = ask(ray, nodes, remote_tasks.try_url, url, token, SECONDS, patience=PATIENCE_SECONDS)
    finally:
        store.remove([name])
    return {answer.node: _capability(answer, url) for answer in answers}


def from_this_machine(url: str) -> Capability:
    """Whether this machine can use ``url``; leaves no file there."""
    if urlsplit(url).scheme == PRIVATE_SCHEME:
        return Capability(
            NAME,
            False,
            f"{url}: other processes can't read what is in the memory of one; give s3://, gs://, ...",
        )
    name = remote_tasks.marker_name(secrets.token_hex(6))
    try:
        store = Store(url, SECONDS)
        store.write(name, b"")
        seen = store.read(name)
        store.remove([name])
    except ValueError as error:
        return Capability(NAME, False, str(error))
    except StorageError as error:
        return Capability(NAME, False, f"{error}; {advice(url)}")
    return Capability(NAME, seen == b"", f"{url}, written and read")


def _capability(answer: Answer, url: str) -> Capability:
    problem = answer.failure or answer.value
    if problem:
        return Capability(NAME, False, f"{url} can't be used there: {problem}; {advice(url)}")
    return Capability(NAME, True, f"{url}, written and read from every side")


def advice(url: str) -> str:
    """What to do where a URL can't be used."""
    extra = EXTRAS.get(urlsplit(url).scheme)
    package = f"`pip install 'paretune[{extra}]'`, and " if extra else ""
    return (
        f"{package}give that machine credentials (its environment or profile) that may read and write there"
    )
