"""The examination of a node in a process of its own: a question as JSON on standard input, the report on output."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout

from sweeps.cluster.private_folder import private_temporary_files
from sweeps.doctor.report import examine, examine_capabilities


def main() -> None:
    """Answers one question: ``{"output": FOLDER}`` examines everything, ``{"names": [...]}`` these capabilities."""
    question = json.loads(sys.stdin.read())
    # Libraries print to standard output, too.
    with redirect_stdout(sys.stderr), private_temporary_files(keep_leftovers=True):
        names = question.get("names")
        report = (
            examine_capabilities(names) if names is not None else examine(question["output"], driver=False)
        )
    print(report.to_json())


if __name__ == "__main__":
    main()
