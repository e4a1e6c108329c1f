"""The examination of a node in a process of its own: a question as JSON on standard input, the report on output."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout

from sweeps.doctor.report import examine, examine_capabilities


def main() -> None:
    """Answers one question: ``{"output": FOLDER}`` examines everything, ``{"names": [...]}`` these capabilities."""
    question = json.loads(sys.stdin.read())
    with redirect_stdout(sys.stderr):  # libraries print to standard output, too
        names = question.get("names")
        report = (
            examine_capabilities(names) if names is not None else examine(question["output"], driver=False)
        )
    print(report.to_json())


if __name__ == "__main__":
    main()
