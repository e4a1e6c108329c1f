"""How a command fails: an error that the user can correct is a message and exit code 2, Ctrl-C is 130."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import typer

from trainables.system.signals import handling

WRONG = 2  # wrong input: a spec, an option, a name
FAILED = 1  # the run failed, or some trials did
INTERRUPTED = 130


class Debug:
    """Whether an error of the user shows its stack trace, too (``--debug``)."""

    on = False


@contextmanager
def users_errors(*also: type[Exception]) -> Iterator[None]:
    """Turns errors that the user can correct into messages and exit code 2, and Ctrl-C into 130.

    These are spec, model, data and template errors, and those of the types ``also``. Storage that fails is exit code 1.
    """
    from sweeps.spec.problems import SpecError
    from trainables.data.errors import DataError
    from trainables.models.folder import ModelError
    from trainables.storage.url_store import StorageError
    from trainables.system.redaction import redacted
    from trainables.templates import TemplateError

    correctable: tuple[type[Exception], ...] = (SpecError, ModelError, DataError, TemplateError, *also)
    try:
        yield
    except correctable as error:
        if Debug.on:
            traceback.print_exception(error)
        for problem in getattr(error, "problems", None) or (error,):
            # The message of a failed download may quote its URL, with the token.
            print(redacted(str(problem)), file=sys.stderr)
        raise typer.Exit(WRONG) from error
    except StorageError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def sigterm_like_ctrl_c() -> AbstractContextManager[None]:
    """Within the block, SIGTERM interrupts the command as Ctrl-C does, so that nothing finished is lost."""
    return handling([signal.SIGTERM], signal.default_int_handler)
