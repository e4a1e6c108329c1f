"""The first step of every stage in every family beside plain transformers': by attention, with and without packing.

Run ``python -m tests.trainables.models.family_losses [--results FILE] [--table FILE] [--ways "dpo sdpa,kto eager"]
[FAMILY ...]``: what differs by more than rounding is printed as it is found, and in the end a table of each way's
largest differences. What the file of results has is not run again. The table is written between two markers of a
document, where it keeps the lines of other ways.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.helpers.model_families import causal_families
from tests.trainables.models.family_matrix import (
    SECONDS,
    SHOWN,
    TookTooLong,
    prepare_process,
    time_limit,
    write_table,
)
from trainables.scoring import generation
from trainables.stages import DPO, KTO, ORPO, SFT, Pretrain, Reward, SimPO
from trainables.system import quiet

FIGURES = ("loss", "gradient", "scores")
BEGIN, END = "<!-- family losses: begin -->", "<!-- family losses: end -->"
HEAD = ["| first step | families | loss | gradient | scores | refused | wrong |", f"|---|{'---:|' * 6}"]
# Stage, attention, packing. Rewards of sampled answers have no loss that a formula gives beforehand.
WAYS = {
    f"{stage.kind} {attention}{' packed' if packing else ''}": (stage.kind, attention, packing)
    for stage in (SFT(), Pretrain(), DPO(), ORPO(), SimPO(), KTO(), Reward())
    for attention in ("eager", "sdpa")
    for packing in ((False, True) if stage.can_pack else (False,))
}

Found = dict[str, Any]  # outcome, and the relative differences where a step was made


def compare_family(kind: str, folder: Path, ways: Sequence[str]) -> dict[str, Found]:
    """What each way gives for a family. Its model and trials are removed in the end."""
    from tests.helpers.family_checks import Family, first_step, outcome_of, require_same

    folder.mkdir(parents=True, exist_ok=True)
    family, found = Family(kind, folder), {}
    for way in ways:
        differences: Found = {}

        def check(way: str = way, differences: Found = differences) -> None:
            step = first_step(family, *WAYS[way])
            differences.update({name: getattr(step, name) for name in FIGURES})
            require_same(step)

        try:
            with time_limit(SECONDS):
                outcome = " ".join(outcome_of(check).split())
        except TookTooLong as error:
            outcome = f"crash: {error}"
        found[way] = {"outcome": outcome, **differences}
    shutil.rmtree(folder)
    return found


def compare_families(
    kinds: Sequence[str], ways: Sequence[str], results: Path | None = None
) -> dict[str, dict[str, Found]]:
    """By family and way."""
    known: dict[str, dict[str, Found]] = {}
    if results is not None and results.exists():
        for entry in map(json.loads, results.read_text(encoding="utf-8").splitlines()):
            known.setdefault(entry["family"], {}).update(entry["found"])
    prepare_process()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PARETUNE_HOME"] = f"{folder}/home"
        for kind in kinds:
            rows[kind] = {way: known[kind][way] for way in ways if way in known.get(kind, {})}
            left = [way for way in ways if way not in rows[kind]]
            with patch.object(generation, "continue_greedily", _answer_nothing):
                new = compare_family(kind, Path(folder) / kind, left) if left else {}
            rows[kind] |= new
            gc.freeze()  # what libraries hold since their first trial; each trial would look through it
            failures = {way: each["outcome"][:SHOWN] for way, each in new.items() if each["outcome"] != "ok"}
            if new:
                print(f"{kind}: {failures or 'ok'}", flush=True)
            if new and results is not None:
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"family": kind, "found": new}) + "\n")
    return rows


def _answer_nothing(policy: Any, starts: Sequence[Any], *_: Any) -> list[list[int]]:
    """In the place of greedy answers, which have no part in what is compared."""
    return [[] for _ in starts]


def table(rows: Mapping[str, Mapping[str, Found]]) -> str:
    """The largest differences of each way over the families that make a step, in Markdown."""
    ways = list(dict.fromkeys(way for row in rows.values() for way in row))
    lines = list(HEAD)
    for way in ways:
        found = [row[way] for row in rows.values() if way in row]
        made = [each for each in found if "loss" in each]
        wrong = sum(each["outcome"].startswith(("wrong", "crash")) for each in found)
        largest = [f"{max(each[name] for each in made):.1e}" if made else "–" for name in FIGURES]
        refused = sum(each["outcome"].startswith(("refused", "late", "not tried")) for each in found)
        lines.append(f"| {way} | {len(made)} | {' | '.join(largest)} | {refused} | {wrong} |")
    return "\n".join(lines)


def merged(document: Path, new: str) -> str:
    """The table of a document with the lines of a new one in the place of theirs, in the order of :data:`WAYS`."""
    known = document.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    lines = {line.split("|")[1].strip(): line for line in (known + new).splitlines() if line[:1] == "|"}
    return "\n".join([*HEAD, *(lines[way] for way in WAYS if way in lines)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("families", nargs="*", help="model types; all of them by default")
    parser.add_argument("--results", type=Path, help="a file that differences are kept in, one family a line")
    parser.add_argument("--table", type=Path, help="the document whose table is written; none by default")
    parser.add_argument(
        "--ways", type=lambda text: text.split(","), default=list(WAYS), help=f"some of {', '.join(WAYS)}"
    )
    options = parser.parse_args()
    quiet.silence()
    found = table(compare_families(options.families or causal_families(), options.ways, options.results))
    print(found)
    if options.table is not None:
        write_table(options.table, merged(options.table, found), BEGIN, END)


if __name__ == "__main__":
    main()
