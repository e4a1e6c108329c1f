"""Whether a cluster's nodes share the run folder: each sees the driver's file in it, and the driver sees theirs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sweeps.cluster import remote_tasks, url_access
from sweeps.cluster.session import Answer, Node, ask
from trainables.storage.urls import is_url
from trainables.system.capabilities import Capability

PATIENCE_SECONDS = 60.0  # a node's first worker process has to start
NAME = "shared run folder"


def examine(ray: Any, nodes: Sequence[Node], output: str | Path) -> dict[Node, Capability]:
    """Whether each node shares ``output``, a folder or a URL, with the driver; leaves nothing there."""
    if is_url(str(output)):
        return url_access.from_nodes(ray, nodes, str(output))
    folder = Path(output).resolve()
    token = secrets.token_hex(6)
    try:
        with _existing(folder), _file_at(folder / remote_tasks.marker_name(token)):
            answers = ask(
                ray, nodes, remote_tasks.write_marker, str(folder), token, patience=PATIENCE_SECONDS
            )
            try:
                return {answer.node: _capability(answer, folder, token) for answer in answers}
            finally:
                # Nodes remove their own files, because the driver may not see them.
                wrote = [answer.node for answer in answers if answer.value]
                ask(ray, wrote, remote_tasks.remove_marker, str(folder), token, patience=PATIENCE_SECONDS)
    except OSError as error:
        what = f"{folder}: {error.strerror} on the driver's machine; give another --output"
        return dict.fromkeys(nodes, Capability(NAME, False, what))


def _capability(answer: Answer, folder: Path, token: str) -> Capability:
    advice = "mount shared storage there, or give --output a path that all nodes share"
    if answer.failure is not None:
        return Capability(NAME, False, f"{folder} can't be written there: {answer.failure}; {advice}")
    if not answer.value:
        return Capability(NAME, False, f"{folder} there is not the driver's; {advice}")
    if not remote_tasks.comes_up(folder / remote_tasks.marker_name(token, answer.node.id)):
        return Capability(
            NAME, False, f"what is written to {folder} there does not arrive at the driver; {advice}"
        )
    return Capability(NAME, True, f"{folder}, written and read from every side")


@contextmanager
def _existing(folder: Path) -> Iterator[None]:
    """Has ``folder`` exist within the block; folders that had to be made are removed again."""
    # From the inside out, which is the order in which they can be removed again.
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # another process has put something there meanwhile
            for path in made:
                path.rmdir()


@contextmanager
def _file_at(path: Path) -> Iterator[None]:
    path.write_text("")
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
