"""A sweep's driver as a job of the cluster: it runs on the head, so it outlives the machine that it was asked from.

The head itself is asked to submit it: the job server may listen on that machine alone, as our cluster files have it.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps.cluster import remote_tasks
from sweeps.cluster.session import ask, head, session
from sweeps.execution.detached.driver import Driver
from sweeps.runs.layout import LOG
from sweeps.spec.problems import Problem, SpecError

PATIENCE_SECONDS = 60.0  # a worker process may have to start on the head
LOOK_SECONDS = 2.0  # between questions after a job


@contextmanager
def submitted(run: Path, path: Path, address: str) -> Iterator[Driver | None]:
    """The job that carries out the orders in ``path``; ``None`` where the cluster has no job server, which is said.

    Raises ``SpecError`` where the head doesn't share the run folder or refuses the job.
    """
    with session(io.StringIO(), address=address) as ray:
        server, head_node = _server(ray), head(ray)
        if server is None or head_node is None:
            print(
                "the cluster has no job server (its head runs without a dashboard): the sweep's driver is a process on "
                "this machine, and ends with it",
                file=sys.stderr,
            )
            yield None
            return

        def asked(errand: Callable[..., Any], *arguments: Any) -> Any:
            (answer,) = ask(ray, [head_node], errand, server, *arguments, patience=PATIENCE_SECONDS)
            if answer.failure is not None:
                what = f"{head_node.name}, the head, can't run the sweep as a job: {answer.failure}"
                raise SpecError(Problem("--detach", "", what))
            return answer.value

        job = asked(remote_tasks.submit, str(path), str(run / LOG))
        yield Driver(
            f"job {job} of the cluster",
            _Looks(lambda: asked(remote_tasks.ended, job)),
            lambda: asked(remote_tasks.call_off, job),
        )


class _Looks:
    """Asks now and then how a job ended; knows nothing new in between."""

    def __init__(self, ask: Callable[[], int | None]) -> None:
        self._ask, self._asked = ask, time.monotonic()

    def __call__(self) -> int | None:
        if time.monotonic() - self._asked < LOOK_SECONDS:
            return None
        self._asked = time.monotonic()
        return self._ask()


def _server(ray: Any) -> str | None:
    """Where the job server is, as the head knows it."""
    url = ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url else None
