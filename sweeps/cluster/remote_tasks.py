"""Functions that run on the nodes of a cluster. They travel by value, because Paretune may be missing there.

So this module imports nothing but the standard library, and its functions Ray and fsspec, where they run. The first
argument of each is the node's id.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

SMI_SECONDS = 10.0
SEEN_SECONDS = 3.0  # within which a network file system has to show a new file


def examine(node_id: str, question: str, seconds: float) -> str:
    """The output of ``python -m sweeps.doctor`` on this node, in a process of its own: a crash is a finding too.

    It runs with this Python and the packages that trials' workers would import. Raises ``RuntimeError`` where it takes
    longer than ``seconds`` or doesn't run.
    """
    # An empty entry would stand for the current folder.
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            # -P: nothing in the folder that the process starts in hides a package.
            [sys.executable, "-P", "-m", "sweeps.doctor"],
            input=question,
            capture_output=True,
            text=True,
            timeout=seconds,
            env={**os.environ, "PYTHONPATH": paths},
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the examination took longer than {seconds:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"])[-1]
        raise RuntimeError(f"Paretune doesn't run there: {last}")
    return done.stdout


def gpu_facts(node_id: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The memory in bytes and the compute capability of each of this node's GPUs, by ``nvidia-smi``; empty where it
    is unknown.
    """
    # Without units the numbers are MiB; a GPU without a number says [N/A], and an old driver knows no capability.
    sizes = [2**20 * int(line) for line in _query_gpus("memory.total") if line.isdigit()]
    versions = [line.split(".") for line in _query_gpus("compute_cap")]
    known = [version for version in versions if len(version) == 2 and all(map(str.isdigit, version))]
    return sizes, [(int(major), int(minor)) for major, minor in known]


def _query_gpus(what: str) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return []


def missing_files(node_id: str, wanted: dict[str, list[tuple[str, int]]]) -> list[str]:
    """Which of ``wanted`` (name -> [(path, bytes)]) are missing or incomplete on this node."""
    return [
        name
        for name, files in wanted.items()
        if not all(os.path.isfile(path) and os.path.getsize(path) == size for path, size in files)
    ]


def write_marker(node_id: str, folder: str, token: str) -> bool:
    """Whether this node sees the driver's file; if so, it writes another one for the driver to see."""
    place = Path(folder)
    if not comes_up(place / marker_name(token)):
        return False
    (place / marker_name(token, node_id)).write_text(token)
    return True


def remove_marker(node_id: str, folder: str, token: str) -> None:
    """Removes the file that :func:`write_marker` wrote."""
    (Path(folder) / marker_name(token, node_id)).unlink(missing_ok=True)


def marker_name(token: str, node_id: str = "driver") -> str:
    """The name of a file by which a node, or the driver, shows that it can write to a folder or URL."""
    return f".paretune-{token}-{node_id}"


def comes_up(path: Path) -> bool:
    """Whether ``path`` exists, or comes into existence within :data:`SEEN_SECONDS`."""
    until = time.monotonic() + SEEN_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def try_url(node_id: str, url: str, token: str, seconds: float) -> str | None:
    """What goes wrong when this node reads and writes at ``url``, in one line; ``None`` if nothing does.

    It is tried for ``seconds``, because a store may fail once.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return _read_and_write(node_id, url, token)
        except ImportError as error:
            return f"a package is missing: {first_line(error)}"
        except Exception as error:  # each kind of store raises its own classes
            if time.monotonic() > until:
                return first_line(error)
        time.sleep(0.5)


def _read_and_write(node_id: str, url: str, token: str) -> str | None:
    import fsspec

    fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
    mine = f"{root}/{marker_name(token, node_id)}"
    fs.pipe_file(mine, token.encode())
    try:
        if fs.cat_file(mine) != token.encode():
            return "what is written is not what is read"
        try:
            seen = fs.cat_file(f"{root}/{marker_name(token)}")
        except FileNotFoundError:
            return "what the driver writes there does not arrive"
        return None if seen == token.encode() else "what is there is not what the driver wrote"
    finally:
        fs.rm_file(mine)


def submit_job(node_id: str, server: str, request: str, log: str) -> str:
    """Has this node's job server run a sweep's driver with this Python; returns the job's id.

    All of the job's output goes to ``log``, also the message that Paretune is missing on this node.
    """
    from ray.job_submission import JobSubmissionClient

    if not comes_up(Path(request)):
        raise RuntimeError(
            f"{request} isn't there; mount shared storage, or give --output a path that all nodes share"
        )
    # By `exec` the driver takes the place of the job's shell, so that stopping the job reaches it.
    command = shlex.join([sys.executable, "-P", "-m", "sweeps.cli", "drive", request])
    return str(
        JobSubmissionClient(server).submit_job(entrypoint=f"exec {command} >> {shlex.quote(log)} 2>&1")
    )


def job_exit_code(node_id: str, server: str, job: str) -> int | None:
    """The exit code of a job, 1 for one that ended without any; ``None`` while it runs."""
    from ray.job_submission import JobSubmissionClient

    info = JobSubmissionClient(server).get_job_info(job)
    if not info.status.is_terminal():
        return None
    return 1 if info.driver_exit_code is None else int(info.driver_exit_code)


def stop_job(node_id: str, server: str, job: str) -> None:
    """Ends a job."""
    from ray.job_submission import JobSubmissionClient

    JobSubmissionClient(server).stop_job(job)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without a period at its end; its class's name if there is no message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
