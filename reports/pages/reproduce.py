"""How to repeat a run: its command, its spec, and what it ran on, as far as the run recorded it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from reports import units
from reports.analysis import merge_notes
from trainables.results import Run

TIMING = (
    "Same config, seed and machine give the same numbers for a trial. What the search proposes and stops "
    "depends on timing when TPE or ASHA run trials in parallel; it repeats with the sampler random or qmc "
    "and no scheduler, or with one trial at a time."
)


def facts(run: Run) -> list[tuple[str, str]]:
    """What identifies the run, by name; what is not known is left out."""
    environment = run.environment
    shown: dict[str, Callable[[Any], str]] = {
        "command": str, "commit": str, "host": str, "cpu_model": str, "cpus": str, "gpus": _text,
        "memory_bytes": units.gib, "python": str, "seconds": units.duration,
    }  # fmt: skip
    names = {
        "cpu_model": "CPU",
        "cpus": "CPUs",
        "gpus": "GPUs",
        "memory_bytes": "memory",
        "seconds": "wall time",
    }
    found = [
        (names.get(key, key), show(environment[key]))
        for key, show in shown.items()
        if environment.get(key) is not None
    ]
    seeds = _distinct(str(record.seed) for record in run.records)
    # Where the environment has no commit, the records may.
    commits = [] if environment.get("commit") else _distinct(r.commit for r in run.records if r.commit)
    hashes = _distinct(r.data_sha256 for r in run.records if r.data_sha256)
    extra = [("commit", commits), ("seed", seeds), ("data SHA-256", hashes), ("packages", packages(run))]
    return found + [(name, ", ".join(values)) for name, values in extra if values]


def packages(run: Run) -> list[str]:
    """Every package version that a trial ran with: ``torch 2.13.0``."""
    versions: dict[str, dict[str, None]] = {}
    sources = [*(record.packages for record in run.records), run.environment.get("packages") or {}]
    for found in sources:
        for name, version in found.items():
            versions.setdefault(name, {})[str(version)] = None
    return [f"{name} {' and '.join(found)}" for name, found in sorted(versions.items())]


def notes(run: Run) -> list[str]:
    """What planning and running had to say, such as a space with fewer configs than trials, and what merging changed.

    What it said of the data is here only where ``data.json``, which says it too, is missing.
    """
    parts = ("notes",) if run.data else ("notes", "data_notes")
    planned = [str(note) for part in parts for note in run.environment.get(part) or []]
    return [*planned, *merge_notes.notes(run)]


def memory_source(runs: Iterable[Run]) -> str:
    """Where the memory numbers come from, in a sentence."""
    sources = {record.memory_source for run in runs for record in run.records}
    known = {
        "rss": "on the CPU as the process's peak resident memory above its baseline",
        "cuda": "on the GPU as the peak of allocated memory on the rank that needed most",
    }
    found = [text for source, text in known.items() if source in sources]
    if not found:
        return "No memory was measured in this run."
    return (
        f"Memory was measured {' and '.join(found)}, in a measuring mode apart from training: "
        "a worker of its own, a few steps on the longest rows."
    )


def _text(value: Any) -> str:
    items = value if isinstance(value, list) else [value]
    return ", ".join(map(str, items)) or "none"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
