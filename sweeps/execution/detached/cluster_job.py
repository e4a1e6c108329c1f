"""A sweep's driver as a job of the cluster: it runs on the head, so it outlives the machine that it was started from.

The head itself submits the job: its job server may listen on that machine alone, as in our cluster files.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sweeps.cluster import remote_tasks
from sweeps.cluster.session import ask, head, session
from sweeps.execution.detached.driver import DetachedDriver
from sweeps.runs.layout import LOG
from sweeps.spec.problems import Problem, SpecError
from trainables.system.background import Throttle

PATIENCE_SECONDS = 60.0  # a worker process may have to start on the head
POLL_SECONDS = 2.0  # between questions about the job


@contextmanager
def submitted_job(run: Path, path: Path, address: str) -> Iterator[DetachedDriver | None]:
    """The job that executes the request at ``path``; ``None``, with a message, where the cluster has no job server.

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

        def on_head(task: Callable[..., Any], *arguments: Any) -> Any:
            (answer,) = ask(ray, [head_node], task, server, *arguments, patience=PATIENCE_SECONDS)
            if answer.failure is not None:
                what = f"{head_node.name}, the head, can't run the sweep as a job: {answer.failure}"
                raise SpecError(Problem("--detach", "", what))
            return answer.value

        job = on_head(remote_tasks.submit_job, str(path), str(run / LOG))
        # The starter polls ten times a second, and each question is a task on the head.
        throttle = Throttle(POLL_SECONDS, wait_first=True)
        yield DetachedDriver(
            f"job {job} of the cluster",
            lambda: on_head(remote_tasks.job_exit_code, job) if throttle.due() else None,
            lambda: on_head(remote_tasks.stop_job, job),
        )


def _server(ray: Any) -> str | None:
    """The URL of the job server, as seen from the head."""
    url = ray._private.worker.get_dashboard_url()
    return f"http://{url}" if url else None
