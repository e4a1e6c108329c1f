"""Ray on this machine alone, started by the process that needs it."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from sweeps.cluster.private_folder import RAY
from sweeps.spec.problems import Problem, SpecError

START_SECONDS = 300.0  # for a node of Ray to register itself; another is started for one that has ended
END_SECONDS = 5.0  # for a process to end itself


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
    end = time.monotonic() + START_SECONDS
    while True:
        with _own_processes() as processes, _patient_with_a_busy_machine(processes, end):
            try:
                ray.init(
                    address="local",
                    **local_options,
                    include_dashboard=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder / RAY),
                )
                close_to_others(folder / RAY)
                return
            except SpecError:  # its node has not come up: another one may
                ray.shutdown()
                _end(processes)
                if time.monotonic() > end:
                    raise


def close_to_others(folder: Path) -> None:
    """Takes all rights in ``folder`` from the group and from others.

    Ray opens its folders to everybody, whatever the umask. What it makes later lies in these, and its processes keep
    the umask, as trials write the files of the run.
    """
    # Its processes remove files and folders meanwhile, which `os.walk` leaves out.
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent, name) for name in [*folders, *names]):
            with suppress(FileNotFoundError):
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode & 0o700)


@contextmanager
def _own_processes() -> Iterator[list[Any]]:
    """The processes that Ray starts in the block, each in a process group of its own; they still end with this one.

    A terminal, ``timeout`` and job schedulers send signals to whole groups. This process then has its trials save
    themselves, which needs a living Ray.
    """
    from ray._private import services as module
    from ray._private import utils

    services: Any = module  # otherwise mypy refuses another class in place of ConsolePopen
    start = services.ConsolePopen
    # Where the system doesn't end children with their parent, Ray ends them by their parent's group.
    group = {"process_group": 0} if utils.detect_fate_sharing_support() else {}
    processes = list[Any]()

    def recorded(*arguments: Any, **options: Any) -> Any:
        processes.append(start(*arguments, **options, **group))
        return processes[-1]

    services.ConsolePopen = recorded
    try:
        yield processes
    finally:
        services.ConsolePopen = start


@contextmanager
def _patient_with_a_busy_machine(processes: Sequence[Any], end: float) -> Iterator[None]:
    """Gives the node that Ray starts in the block until ``end`` (by ``time.monotonic``) to register itself.

    Ray gives it 30 seconds, which it exceeds on a machine with much other work, and has no setting for that. A node
    whose agents take longer than 15 seconds to say their ports ends itself, for which there is no setting either: it is
    not waited for.
    """
    from ray._private import services as module

    services: Any = module
    get_node = services.get_node

    def wait_for_node(*address: Any) -> Any:
        while True:
            try:
                return get_node(*address)
            except RuntimeError as error:  # it has not registered yet
                if time.monotonic() > end or _node_has_ended(processes):
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


def _node_has_ended(processes: Sequence[Any]) -> bool:
    nodes = [process for process in processes if Path(str(process.args[0])).name == "raylet"]
    return any(process.poll() is not None for process in nodes)


def _end(processes: Sequence[Any]) -> None:
    """Ends processes that Ray doesn't know of, because its start failed."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
