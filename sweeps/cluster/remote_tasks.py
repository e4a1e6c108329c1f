"""What a cluster's node is sent to do. These functions travel by value: Paretune may be missing where they run.

So they know nothing but the standard library and, where they run, Ray and fsspec; the first thing each is given is the
node's id.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

SMI_SECONDS = 10.0
SEEN_SECONDS = 3.0  # that a network file system has to show a new file


def examine(node_id: str, question: str, seconds: float) -> str:
    """What ``python -m sweeps.doctor`` answers here, in a process of its own: what crashes there is a finding.

    It is this Python, with the packages that trials' workers would find.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
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


def gpu_bytes(node_id: str) -> list[int]:
    """The bytes of each GPU here, as far as told."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [2**20 * int(line) for line in said.split() if line.isdigit()]


def missing_files(node_id: str, wanted: dict[str, list[tuple[str, int]]]) -> list[str]:
    """What of ``wanted``, files with their bytes by name, isn't wholly here."""
    return [
        name
        for name, files in wanted.items()
        if not all(os.path.isfile(path) and os.path.getsize(path) == size for path, size in files)
    ]


def write_marker(node_id: str, folder: str, token: str) -> bool:
    """Whether the driver's file can be seen here; if so, another is left for the driver to see."""
    place = Path(folder)
    if not comes_up(place / marker_name(token)):
        return False
    (place / marker_name(token, node_id)).write_text(token)
    return True


def remove_marker(node_id: str, folder: str, token: str) -> None:
    """Takes away what ``leave_mark`` left."""
    (Path(folder) / marker_name(token, node_id)).unlink(missing_ok=True)


def marker_name(token: str, node_id: str = "driver") -> str:
    """The name of a file that says: here I was."""
    return f".paretune-{token}-{node_id}"


def comes_up(path: Path) -> bool:
    """Whether ``path`` is there, or comes up within :data:`SEEN_SECONDS`."""
    until = time.monotonic() + SEEN_SECONDS
    while not path.exists():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


def try_url(node_id: str, url: str, token: str, seconds: float) -> str | None:
    """What goes wrong with reading and writing at ``url`` here, in one line; ``None`` if all is well.

    Tried for so many seconds: a store may fail once.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            return _visit(node_id, url, token)
        except ImportError as error:
            return f"a package is missing: {first_line(error)}"
        except Exception as error:  # each kind of store has its own
            if time.monotonic() > until:
                return first_line(error)
        time.sleep(0.5)


def _visit(node_id: str, url: str, token: str) -> str | None:
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
        return None if seen == token.encode() else "it is not the driver's"
    finally:
        fs.rm_file(mine)


def submit_job(node_id: str, server: str, orders: str, log: str) -> str:
    """Has the job server here run a sweep's driver with this Python; the job's id.

    All of its output goes to ``log``, also what it says if Paretune is missing here.
    """
    from ray.job_submission import JobSubmissionClient

    if not comes_up(Path(orders)):
        raise RuntimeError(
            f"{orders} isn't there; mount shared storage, or give --output a path that all share"
        )
    command = shlex.join([sys.executable, "-m", "sweeps.cli", "drive", orders])
    return str(
        JobSubmissionClient(server).submit_job(entrypoint=f"exec {command} >> {shlex.quote(log)} 2>&1")
    )


def job_exit_code(node_id: str, server: str, job: str) -> int | None:
    """A job's exit code, 1 where it never got to have one; ``None`` while it runs."""
    from ray.job_submission import JobSubmissionClient

    found = JobSubmissionClient(server).get_job_info(job)
    if not found.status.is_terminal():
        return None
    return 1 if found.driver_exit_code is None else int(found.driver_exit_code)


def stop_job(node_id: str, server: str, job: str) -> None:
    """Ends a job."""
    from ray.job_submission import JobSubmissionClient

    JobSubmissionClient(server).stop_job(job)


def first_line(error: BaseException) -> str:
    """What an error says, in short."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
