"""A node's own examination, in a process of its own: the question as JSON on standard input, the report on output."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout

from sweeps.doctor.report import asked, examine


def main() -> None:
    """Answers one question: ``{"output": FOLDER}`` to examine all, or ``{"names": [...]}``."""
    question = json.loads(sys.stdin.read())
    with redirect_stdout(sys.stderr):  # what libraries print is not the answer
        names = question.get("names")
        report = asked(names) if names is not None else examine(question["output"], driver=False)
    print(report.to_json())


if __name__ == "__main__":
    main()
