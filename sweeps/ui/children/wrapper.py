"""Runs one command and writes its exit code to a file, whatever becomes of the UI that started it.

``python -I -S wrapper.py FOLDER COMMAND...``: a program of the standard library alone, so that it takes little memory.
It leads a session of its own. Signals to its process group reach the command; the wrapper waits for the command's end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

PROCESS, EXIT_CODE = "process.json", "rc"
COULD_NOT_START = 127


def main(folder: str, command: list[str]) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A handler, not SIG_IGN: a command inherits what is ignored, and would never see Ctrl-C.
        signal.signal(number, lambda *_: None)
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        _write(folder, EXIT_CODE, str(COULD_NOT_START))
        return COULD_NOT_START
    _write(
        folder, PROCESS, json.dumps({"wrapper": _identity(os.getpid()), "command": _identity(process.pid)})
    )
    code = process.wait()
    _write(folder, EXIT_CODE, str(code))
    return 0


def _identity(pid: int) -> dict[str, object] | None:
    """As ``ProcessIdentity`` has it; ``None`` for a process that has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            started = int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return {"pid": pid, "started": started, "boot": file.read().strip()}


def _write(folder: str, name: str, text: str) -> None:
    path = os.path.join(folder, name)
    temporary = f"{path}.{os.urandom(8).hex()}.tmp"  # a name that nobody can foresee, of a file that is new
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
