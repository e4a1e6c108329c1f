"""How a command fails: an error that the user can correct is a message and exit code 2, Ctrl-C is 130."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from trainables.system.signals import handling

WRONG = 2  # wrong input: a spec, an option, a name
FAILED = 1  # the run failed, or some trials did
INTERRUPTED = 130


class Debug:
    """Whether an error of the user shows its stack trace, too (``--debug``)."""

    on = False


@dataclass(frozen=True)
class Explanation:
    """What the user is told of an error, in sentences, and the exit code. ``shows_trace``: with ``--debug``."""

    sentences: tuple[str, ...]
    exit_code: int = WRONG
    shows_trace: bool = True


def explanation(error: BaseException, *also: type[Exception]) -> Explanation | None:
    """How an error is explained to the user; ``None`` for one that is no mistake of theirs.

    Mistakes are spec, model, data and template errors, damaged files of a run, files that can't be read or written, and
    those of the types ``also``. Storage at URLs that fails is exit code 1.
    """
    from sweeps.spec.problems import SpecError
    from trainables.data.errors import DataError
    from trainables.models.folder import ModelError
    from trainables.storage.damaged_files import DamagedFile
    from trainables.storage.url_store import StorageError
    from trainables.system.redaction import redacted
    from trainables.templates import TemplateError

    of_the_system = isinstance(error, OSError) and error.errno is not None
    if (
        isinstance(error, (SpecError, ModelError, DataError, TemplateError, DamagedFile, *also))
        and not of_the_system
    ):
        problems = getattr(error, "problems", None) or (error,)
        # The message of a failed download may quote its URL, with the token.
        return Explanation(tuple(redacted(str(problem)) for problem in problems))
    if isinstance(error, StorageError):
        return Explanation((str(error),), FAILED, shows_trace=False)
    if isinstance(error, OSError):
        return Explanation((redacted(_system_error(error)),))
    # As Python says of the home folder of nobody: ~name/...
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        what = "a path begins with ~NAME, and there is no user NAME on this machine; write the path in full"
        return Explanation((what,), shows_trace=False)
    return None


@contextmanager
def users_errors(*also: type[Exception]) -> Iterator[None]:
    """Turns errors that the user can correct (see :func:`explanation`) into messages and their exit code, and Ctrl-C
    into 130.
    """
    try:
        yield
    except BrokenPipeError:  # whoever read the output has what it wanted
        raise
    except Exception as error:
        explained = explanation(error, *also)
        if explained is None:
            raise
        if Debug.on and explained.shows_trace:
            traceback.print_exception(error)
        for sentence in explained.sentences:
            print(sentence, file=sys.stderr)
        raise typer.Exit(explained.exit_code) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _system_error(error: OSError) -> str:
    """What the system refused, with the file; where it is Paretune's own folder, how to choose another one."""
    from trainables.storage.home import home
    from trainables.storage.url_store import DISK_FULL

    if error.errno is None:  # raised with a sentence of ours
        return str(error)
    if error.errno in DISK_FULL:
        place = error.filename or "a folder that is written to"
        return f"{place}: {error.strerror}; free some space there. All that was finished is kept, and --resume goes on"
    if error.filename is None:
        return f"{error}; `paretune --debug` shows where"
    what = f"{error.filename}: {error.strerror}"
    path, own = Path(os.fsdecode(error.filename)).absolute(), home().absolute()
    # The folder itself may be the missing one, or one above it.
    if path.is_relative_to(own) or own.is_relative_to(path):
        return f"{what}; set PARETUNE_HOME to a folder that can be written to (it is {own})"
    return f"{what}; give a path that can be read and written"


def sigterm_like_ctrl_c() -> AbstractContextManager[None]:
    """Within the block, SIGTERM interrupts the command as Ctrl-C does, so that nothing finished is lost."""
    return handling([signal.SIGTERM], signal.default_int_handler)
