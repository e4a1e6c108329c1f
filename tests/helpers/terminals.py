"""A command in a pseudo-terminal, with the keys that a user would type."""

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


def user_environment() -> dict[str, str]:
    """The environment of a user's shell, without the variables that quiet libraries in these tests."""
    return {name: value for name, value in os.environ.items() if name not in quiet.ENVIRONMENT}


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # background processes, such as test runs, ignore SIGINT


class Terminal:
    """Runs ``command`` with a controlling terminal of ``columns`` x ``rows``, until the context ends.

    ``screen`` is everything that the command wrote; ``shown`` is the same without colours and cursor movements.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        columns: int = 100,
        rows: int = 40,
    ) -> None:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**(user_environment() if environment is None else environment), "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(slave)
        self.screen, self.shown, self.read = "", "", 0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def until(self, text: str, seconds: float = 120) -> str:
        """Waits for ``text``; returns what was shown since the last call, without colours and cursor movements."""
        end = time.monotonic() + seconds
        while text not in self.shown[self.read :]:
            assert time.monotonic() < end, f"{text!r} was not shown in {seconds} s but {self.shown!r}"
            assert self._read(), f"the command ended before {text!r}: {self.shown!r}"
        begin, self.read = self.read, self.shown.index(text, self.read) + len(text)
        return self.shown[begin : self.read]

    def more(self, characters: int, seconds: float = 120) -> None:
        """Waits for this number of characters after the text that the last call of ``until`` waited for."""
        end = time.monotonic() + seconds
        while len(self.shown) < self.read + characters:
            assert time.monotonic() < end, f"nothing more was shown in {seconds} s than {self.shown!r}"
            assert self._read(), f"the command ended: {self.shown!r}"

    def interrupt(self, seconds: float = 60) -> int:
        """Presses Ctrl-C at a prompt until the command ends; returns its exit code as a shell shows it.

        Once is not always enough: Python's ``input`` misses a Ctrl-C that comes just as it begins to wait (a plain
        script missed 5 of 60 on a busy machine). A second one may come when Python, on its way out, has given its
        signal handlers back: the process then dies by the signal, which a shell shows as 130, too.
        """
        until = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < until:
            self.type(INTERRUPT)
            again = time.monotonic() + 2
            while self.process.poll() is None and time.monotonic() < again:
                self._read()
        code = self.end(0)
        return 128 - code if code < 0 else code

    def end(self, seconds: float = 60) -> int:
        """Waits until the command ends; returns its exit code."""
        until = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < until, f"the command has not ended after {seconds} s: {self.shown!r}"
            self._read()
        while self._has_output(0) and self._read():
            pass  # its last output
        return self.process.returncode

    def lines(self) -> list[str]:
        """All lines that were ever shown; a line that was redrawn is there several times."""
        return [line.rstrip() for line in re.split(r"[\r\n]+", ESCAPES.sub("", self.screen))]

    def _read(self) -> bool:
        """Reads new output, after waiting for a moment; false once the command has closed the terminal."""
        if not self._has_output(0.2):
            return True
        try:
            output = os.read(self.master, 65536)
        except OSError:  # on Linux: the other side is closed
            return False
        text = output.decode(errors="replace")
        self.screen, self.shown = self.screen + text, self.shown + CONTROL.sub("", text)
        return bool(output)

    def _has_output(self, seconds: float) -> bool:
        return bool(select.select([self.master], [], [], seconds)[0])
