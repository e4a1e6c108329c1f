"""How a command ends: what a user can mend is a sentence and exit code 2, Ctrl-C is 130."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

WRONG = 2  # what the user gave is wrong
FAILED = 1  # the run failed, or some trials did
INTERRUPTED = 130


class Debug:
    """Whether a user's mistake shows its stack trace too."""

    on = False


@contextmanager
def users_errors(*also: type[Exception]) -> Iterator[None]:
    """Turns what a user can mend into a sentence and exit code 2, and Ctrl-C into 130."""
    from sweeps.spec.problems import SpecError
    from trainables.data.errors import DataError
    from trainables.models.folder import ModelError
    from trainables.storage.url_store import StorageError
    from trainables.system.redaction import redacted
    from trainables.templates import TemplateError

    mistakes: tuple[type[Exception], ...] = (SpecError, ModelError, DataError, TemplateError, *also)
    try:
        yield
    except mistakes as error:
        if Debug.on:
            traceback.print_exception(error)
        for problem in getattr(error, "problems", None) or (error,):
            # What broke a download may quote its URL, with the token.
            print(redacted(str(problem)), file=sys.stderr)
        raise typer.Exit(WRONG) from error
    except StorageError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def ended_like_by_ctrl_c() -> Iterator[None]:
    """Being told to end (SIGTERM) is what Ctrl-C is: everything is kept."""
    import signal

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
