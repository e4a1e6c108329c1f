"""Ray on this machine alone, started by the process that needs it."""

from __future__ import annotations

import logging
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

from sweeps.cluster.private_folder import RAY
from sweeps.spec.problems import Problem, SpecError

START_SECONDS = 150.0  # for Ray's node to register itself, before another is started


@cache
def _token() -> str:
    """The token of every Ray that this process starts, one after another: Ray goes on with the first that it reads."""
    return secrets.token_hex(32)


def start(folder: Path, local_options: Mapping[str, Any]) -> None:
    """Starts Ray for this machine alone: it listens on the loopback interface, requires this run's own token, and keeps
    its files in ``folder``.
    """
    import ray
    from ray._private import ray_constants

    # Otherwise Ray writes a token to the home folder, for every user to read.
    os.environ["RAY_AUTH_TOKEN"] = _token()
    # Ray's default is to require the token. A shell may have a setting for another cluster.
    os.environ.pop("RAY_AUTH_MODE", None)
    # A node that no other nodes can reach has the address 127.0.0.1, and Ray's servers listen there alone.
    os.environ[ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR] = "0"
    ray_constants.ENABLE_RAY_CLUSTER = False
    # "local": not the cluster that RAY_ADDRESS names, or a file in the temporary folder, which anybody may write.
    with _separate_process_groups(), _patient_with_a_busy_machine():
        for last in (False, True):
            try:
                ray.init(
                    address="local",
                    **local_options,
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder / RAY),
                )
                return
            except SpecError:  # its node has not come up: another one may
                if last:
                    raise
                ray.shutdown()


@contextmanager
def _separate_process_groups() -> Iterator[None]:
    """Puts the processes that Ray starts in the block into process groups of their own; they still end with this one.

    A terminal, ``timeout`` and job schedulers send signals to whole groups. This process then has its trials save
    themselves, which needs a living Ray.
    """
    from ray._private import services as module
    from ray._private import utils

    services: Any = module  # otherwise mypy refuses another class in place of ConsolePopen
    start = services.ConsolePopen
    # Where the system doesn't end children with their parent, Ray ends them by their parent's group.
    if utils.detect_fate_sharing_support():
        services.ConsolePopen = partial(start, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = start


@contextmanager
def _patient_with_a_busy_machine() -> Iterator[None]:
    """Gives the node that Ray starts in the block :data:`START_SECONDS` to register itself.

    Ray gives it 30 seconds, which it exceeds on a machine with much other work, and has no setting for that.
    """
    from ray._private import services as module

    services: Any = module
    get_node = services.get_node

    def wait_for_node(*address: Any) -> Any:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                return get_node(*address)
            except RuntimeError as error:  # it has not registered yet
                if time.monotonic() > end:
                    what = (
                        f"did not start within {START_SECONDS:.0f} s. Is other work using the whole machine?"
                    )
                    raise SpecError(Problem("Ray on this machine", "", what)) from error
                time.sleep(0.1)

    services.get_node = wait_for_node
    try:
        yield
    finally:
        services.get_node = get_node
