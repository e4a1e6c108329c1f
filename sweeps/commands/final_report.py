"""The report at the end of a command that trained: where it can't be written, nothing that was trained is lost."""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from sweeps.commands.errors import Debug


class ReportWriter(Protocol):
    """``reports.write.write``: writes the report of one run or several, with claims and a folder of PEFT's results
    beside theirs, and returns the path of its page.
    """

    def __call__(
        self,
        runs: Sequence[Path],
        output: Path | None = None,
        claims: Sequence[Mapping[str, Any]] = (),
        peft_results: Path | None = None,
        /,
    ) -> Path: ...


def final_report(
    write: ReportWriter, run_folder: Path, display_name: str, log: Callable[[str], None]
) -> Path | None:
    """The page of a run's report; ``None`` where it can't be written, for a reason that is logged.

    Whatever that is, the trials are in their folders, and the report can be written later.
    """
    from trainables.system.redaction import redacted

    try:
        return write([run_folder])
    except Exception as error:
        if Debug.on:
            traceback.print_exception(error)
        reason = redacted(f"{type(error).__name__}: {error}")
        log(
            f"The report could not be written ({reason}). All trials are kept in {display_name}; "
            f"`paretune report {shlex.quote(display_name)}` writes it once the reason is gone, and `paretune --debug "
            "report ...` shows where it fails"
        )
        return None
