"""The matrix of families: every causal language model that transformers has, as a tiny model, in every way to train it.

Run ``python -m tests.trainables.models.family_matrix [--results FILE] [--table FILE] [--columns A,B] [FAMILY ...]``:
each outcome is printed and appended to the file of results as it is there; what the file has is not run again. The
table is written between two markers of a document; of families and columns that are not named it keeps what it has.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers.model_families import causal_families
from tests.helpers.paths import ROOT
from trainables.system import quiet

SHOWN = 160  # characters of an outcome that are printed
SECONDS = 60  # of processor time, for one family in one column
BEGIN, END = "<!-- families: begin -->", "<!-- families: end -->"
README = ROOT / "trainables" / "README.md"

Row = dict[str, str]  # outcome by column


class TookTooLong(Exception):  # noqa: N818
    """A check used up its time."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises :class:`TookTooLong` in a block that uses more processor time; other work on the machine doesn't count."""

    def end(*_: Any) -> None:
        raise TookTooLong(f"it took more than {seconds:g} s")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def check_family(kind: str, folder: Path, columns: Sequence[str] | None = None) -> Row:
    """The outcomes of a family in these columns, or in all. Its model and trials are removed in the end."""
    from tests.helpers.family_checks import CHECKS, Family, outcome

    folder.mkdir(parents=True, exist_ok=True)
    family = Family(kind, folder)
    row = {}
    for column in columns or CHECKS:
        try:
            with time_limit(SECONDS):
                row[column] = " ".join(outcome(family, column).split())
        except TookTooLong as error:
            row[column] = f"crash: {error}"
    family.remove()
    return row


def table(rows: Mapping[str, Row]) -> str:
    """The matrix in Markdown, families with the same outcomes in one row, the most frequent first, with a legend."""
    columns = list(next(iter(rows.values())))
    reasons: dict[str, int] = {}
    groups: dict[tuple[str, ...], list[str]] = {}
    not_tried = []
    for kind, row in sorted(rows.items()):
        values = [row[column] for column in columns]
        if len(set(values)) == 1 and values[0].startswith("not tried"):
            not_tried.append(f"{kind}: {values[0].partition(': ')[2]}")
        else:
            groups.setdefault(tuple(_short(kind, value, reasons) for value in values), []).append(kind)
    lines = [f"| families | {' | '.join(columns)} |", f"|{'---|' * (len(columns) + 1)}"]
    for outcomes, kinds in sorted(groups.items(), key=lambda group: -len(group[1])):
        lines.append(f"| {', '.join(kinds)} | {' | '.join(outcomes)} |")
    legend = [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([*lines, "", *legend, "", f"Not tried: {'; '.join(not_tried) or 'none'}."])


def read_table(document: Path) -> dict[str, Row]:
    """The outcomes that a document's table has, as :func:`table` takes them."""
    text = document.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line[:1] == "|"
    ]
    if not lines:
        return {}
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    (_, *columns), _, *rows = lines
    found = {
        kind: dict(zip(columns, (_long(value, reasons) for value in values), strict=True))
        for kinds, *values in rows
        for kind in kinds.split(", ")
    }
    not_tried = text.partition("Not tried: ")[2].rstrip(".\n")
    for kind, why in re.findall(r"([^:;]+): ([^;]+)", not_tried):
        found[kind.strip()] = dict.fromkeys(columns, f"not tried: {why}")
    return found


SHORT = {"refused": "no", "late": "no*", "unknown": "?", "wrong": "**wrong**", "crash": "**crash**"}


def _long(shown: str, reasons: Mapping[str, str]) -> str:
    """The outcome that :func:`_short` wrote."""
    if shown == "ok":
        return shown
    short, _, number = shown.rpartition(" ")
    what = next(long for long, name in SHORT.items() if name == short)
    return f"{what}: {reasons[number]}"


def _short(kind: str, value: str, reasons: dict[str, int]) -> str:
    """An outcome with the number of its reason in the legend."""
    if value == "ok":
        return value
    what, _, why = value.partition(": ")
    reason = _general(kind, why)
    number = reasons.setdefault(reason, len(reasons) + 1)
    return f"{SHORT[what]} {number}"


def _general(kind: str, why: str) -> str:
    """A reason without what differs from family to family and from column to column: names, numbers, class, stage."""
    why = re.sub(rf"\b{re.escape(kind)}\b", "TYPE", why)
    why = re.sub(r"\b\w+(ForCausalLM|LMHeadModel|ForConditionalGeneration)\b", "CLASS", why)
    why = re.sub(r"(\ba )?\b\w+ trains decoders", "a stage trains decoders", why)
    why = re.sub(r"/\S+", "PATH", why)
    why = re.sub(r"\d[\d.,e+-]*\d|\d", "N", why)
    return why.replace("|", "/")[:200]


def write_table(document: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Replaces what stands between two markers of a document."""
    before, _, rest = document.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def prepare_process() -> None:
    """Leaves out what takes most of a trial's time and shows nothing here: collecting garbage in what libraries hold
    (0.4 s, twice), and long answers that only serve to be looked at.
    """
    import gc

    import peft  # noqa: F401
    import torch
    import trl  # noqa: F401

    from trainables.scoring import generation

    torch.set_num_threads(1)
    generation.PREVIEW_TOKENS = 8
    gc.collect()
    gc.freeze()


def run_families(
    kinds: Sequence[str], results: Path | None, columns: Sequence[str] | None = None
) -> dict[str, Row]:
    """The rows of these families, with all columns or these; those that the file of results has are taken from it."""
    rows: dict[str, Row] = {}
    if results is not None and results.exists():
        rows = {entry["family"]: entry["row"] for entry in map(json.loads, results.read_text().splitlines())}
    rows = {kind: row for kind, row in rows.items() if kind in kinds}
    prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PARETUNE_HOME"] = f"{folder}/home"
        for kind in kinds:
            if kind in rows:
                continue
            began = time.process_time()
            rows[kind] = check_family(kind, Path(folder) / kind, columns)
            failures = {column: value[:SHOWN] for column, value in rows[kind].items() if value != "ok"}
            print(f"{kind} ({time.process_time() - began:.1f} s): {failures or 'ok'}", flush=True)
            if results is not None:
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"family": kind, "row": rows[kind]}) + "\n")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*", help="model types; all of them by default")
    parser.add_argument("--results", type=Path, help="a file that outcomes are kept in, one family a line")
    parser.add_argument("--table", type=Path, help="the document whose table is written; none by default")
    parser.add_argument(
        "--columns", type=lambda text: text.split(","), help="some of the columns: lora,4-bit"
    )
    options = parser.parse_args()
    quiet.silence()
    rows = run_families(options.families or causal_families(), options.results, options.columns)
    if options.table is None:
        print(table(rows))
        return
    known = read_table(options.table) if options.families or options.columns else {}
    write_table(options.table, table(known | {kind: known.get(kind, {}) | row for kind, row in rows.items()}))


if __name__ == "__main__":
    main()
