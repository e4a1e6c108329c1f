"""Whether a URL can be written, read and cleared from the driver and from each of a cluster's nodes."""

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

SECONDS = 10.0  # that a store may fail before it is taken at its word
PATIENCE_SECONDS = 60.0 + SECONDS  # a node's first worker process has to start
NAME = "run folder's URL"
OWN = "memory"  # this scheme is every process's own


def from_nodes(ray: Any, asked: Sequence[Node], url: str) -> dict[Node, Capability]:
    """For each node whether it can use ``url``; nothing stays behind."""
    found = from_this_machine(url)
    if not found.works:
        return dict.fromkeys(asked, Capability(NAME, False, f"here, on the driver: {found.detail}"))
    token = secrets.token_hex(6)
    name, store = remote_tasks.marker_name(token), Store(url, SECONDS)
    store.write(name, token.encode())
    try:
        answers = ask(ray, asked, remote_tasks.try_url, url, token, SECONDS, patience=PATIENCE_SECONDS)
    finally:
        store.remove([name])
    return {answer.node: _found(answer, url) for answer in answers}


def from_this_machine(url: str) -> Capability:
    """Whether this machine can use ``url``; nothing stays behind."""
    if urlsplit(url).scheme == OWN:
        return Capability(
            NAME, False, f"{url}: what is in memory is one process's own; give s3://, gs://, ..."
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


def _found(answer: Answer, url: str) -> Capability:
    wrong = answer.failure or answer.value
    if wrong:
        return Capability(NAME, False, f"{url} can't be used there: {wrong}; {advice(url)}")
    return Capability(NAME, True, f"{url}, written and read from every side")


def advice(url: str) -> str:
    """What to do where a URL can't be used."""
    extra = EXTRAS.get(urlsplit(url).scheme)
    package = f"`pip install 'paretune[{extra}]'`, and " if extra else ""
    return (
        f"{package}give that machine credentials (its environment or profile) that may read and write there"
    )
