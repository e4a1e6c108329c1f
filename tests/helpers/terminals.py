"""A command in a terminal of its own, typed into as a person would."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from trainables.system import quiet

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]")
CONTROL = re.compile(ESCAPES.pattern + r"|\r")
UP, END_OF_FILE, INTERRUPT = "\x1b[A", "\x04", "\x03"


def shell() -> dict[str, str]:
    """The environment of a person's shell: what quiets the libraries of these tests isn't in it."""
    return {name: value for name, value in os.environ.items() if name not in quiet.ENVIRONMENT}


def _in_a_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # tests that run in the background have it ignored


class Terminal:
    """Runs ``command`` in a terminal of ``columns`` x ``rows`` that is its controlling one; ends it on leaving.

    ``screen`` is all that was written to it, ``shown`` the same without colours and movements.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        columns: int = 100,
        rows: int = 40,
    ) -> None:
        self.ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**(shell() if environment is None else environment), "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=_in_a_terminal,
        )
        os.close(theirs)
        self.screen, self.shown, self.read = "", "", 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def until(self, text: str, seconds: float = 120) -> str:
        """What is shown from where the last call ended to the end of ``text``, without colours and movements."""
        end = time.monotonic() + seconds
        while text not in self.shown[self.read :]:
            assert time.monotonic() < end, f"{text!r} was not shown in {seconds} s but {self.shown!r}"
            assert self._more(), f"it ended before {text!r}: {self.shown!r}"
        begin, self.read = self.read, self.shown.index(text, self.read) + len(text)
        return self.shown[begin : self.read]

    def more(self, characters: int, seconds: float = 120) -> None:
        """Returns as soon as so much more is shown than what was asked for by now."""
        end = time.monotonic() + seconds
        while len(self.shown) < self.read + characters:
            assert time.monotonic() < end, f"nothing more was shown in {seconds} s than {self.shown!r}"
            assert self._more(), f"it ended: {self.shown!r}"

    def interrupt(self, seconds: float = 60) -> int:
        """Presses Ctrl-C at a prompt; its exit code. Once more where nothing happens: Python's ``input`` misses one
        that comes just as it begins to wait, as a plain script's did 5 times of 60 on a busy machine.
        """
        until = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < until:
            self.type(INTERRUPT)
            again = time.monotonic() + 2
            while self.process.poll() is None and time.monotonic() < again:
                self._more()
        return self.end(0)

    def end(self, seconds: float = 60) -> int:
        """Its exit code, once it ends."""
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < until, f"it has not ended in {seconds} s: {self.shown!r}"
            self._more()
        while self._speaks(0) and self._more():
            pass  # what it said last
        return self.process.returncode

    def lines(self) -> list[str]:
        """What was ever shown, line by line: one that was drawn anew is there as often."""
        return [line.rstrip() for line in re.split(r"[\r\n]+", ESCAPES.sub("", self.screen))]

    def _more(self) -> bool:
        """Takes what is shown by now, waiting for a moment; false once there is nobody to show more."""
        if not self._speaks(0.2):
            return True
        try:
            found = os.read(self.ours, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        text = found.decode(errors="replace")
        self.screen, self.shown = self.screen + text, self.shown + CONTROL.sub("", text)
        return bool(found)

    def _speaks(self, seconds: float) -> bool:
        return bool(select.select([self.ours], [], [], seconds)[0])
