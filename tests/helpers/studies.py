"""Runs of studies: stores them in ``reports/studies``, compares others with these, and writes the table of README.

python -m tests.helpers.studies store runs/study-memory ... [--note TEXT]  # what is to be known of the outcomes
python -m tests.helpers.studies compare runs/study-memory ...      # exit 1 where a claim comes out otherwise
python -m tests.helpers.studies table                              # the table of studies in README.md
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from reports import units
from reports.pages.summary import escape_markdown
from reports.studies.stored_study import StoredStudy, stored_studies
from reports.studies.storing import differences, store, study_of

ROOT = Path(__file__).parents[2]
FOLDER, README = ROOT / "reports" / "studies", ROOT / "README.md"
BEGIN, END = "<!-- studies: begin -->\n", "<!-- studies: end -->\n"
COLUMNS = ("study", "claim", "published by", "what came out", "estimate", "time", "machine")


def table(studies: Sequence[StoredStudy]) -> str:
    """A row for each claim of the studies, as Markdown, and below it the notes that belong to their outcomes."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for study in studies:
        lines += [
            (
                f"[{study.name}](reports/studies/{study.name}/summary.md)",
                escape_markdown(claim.statement),
                escape_markdown(claim.source or ""),
                f"{claim.outcome} (note below)" if study.note else claim.outcome,
                escape_markdown("; ".join(claim.figures)),
                units.duration(study.seconds),
                escape_markdown(study.machine),
            )
            for claim in study.claims
        ]
    notes = [f"\n{study.name}: {escape_markdown(study.note)}\n" for study in studies if study.note]
    return "".join([*(f"| {' | '.join(line)} |\n" for line in lines), *notes])


def with_table(text: str) -> str:
    """README's text with its table made anew."""
    before, rest = text.split(BEGIN)
    return before + BEGIN + table(list(stored_studies(FOLDER).values())) + END + rest.split(END)[1]


def compare(runs: Sequence[Path], folder: Path = FOLDER) -> int:
    """Says of each run which claims come out otherwise than they are stored, and of each that can't be compared why;
    the exit code.
    """
    stored, wrong = stored_studies(folder), False
    for run in runs:
        try:
            again, _ = study_of(run)
        except (ValueError, FileNotFoundError) as error:
            print(f"not compared: {error}")
            wrong = True
            continue
        before = stored.get(again.name)
        sentences = ["nothing is stored"] if before is None else list(differences(before, again))
        wrong |= bool(sentences)
        for sentence in sentences or [f"as stored: {', '.join(claim.outcome for claim in again.claims)}"]:
            print(sentence if sentence.startswith(again.name) else f"{again.name}: {sentence}")
    return 1 if wrong else 0


def main(arguments: Sequence[str]) -> int:
    command, note = arguments[:1], None
    if command == ["store"] and arguments[-2:-1] == ["--note"]:
        *arguments, _, note = arguments
    runs = [Path(argument) for argument in arguments[1:]]
    try:
        if command == ["store"] and runs:
            for run in runs:
                study = store(run, FOLDER, note)
                print(f"{study.name}: {', '.join(claim.outcome for claim in study.claims)}")
            return 0
        if command == ["compare"] and runs:
            return compare(runs)
    except (ValueError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if command == ["table"] and not runs:
        README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
