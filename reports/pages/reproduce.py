"""How to repeat a run: its command as typed for a new one, and what it ran on, as far as the run recorded it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reports import units
from reports.analysis.runs.progress import typed_command, wall_seconds
from trainables.results import Run

REPEATABILITY = (
    "A trial gives the same numbers again with the same config and seed on the same machine. Which trials the search "
    "proposes and stops depends on timing when TPE or ASHA run trials in parallel. A whole sweep repeats with the "
    "sampler random or qmc and no scheduler, or with one trial at a time."
)


def facts(run: Run) -> list[tuple[str, str]]:
    """(name, value) pairs that identify the run; what is not known is left out."""
    environment = run.environment
    formats: dict[str, Callable[[Any], str]] = {
        "commit": str, "host": str, "cpu_model": str, "cpus": str, "gpus": _text,
        "memory_bytes": units.gib, "python": str,
    }  # fmt: skip
    names = {
        "cpu_model": "CPU",
        "cpus": "CPUs",
        "gpus": "GPUs",
        "memory_bytes": "memory",
    }
    command = typed_command(run)
    known = [
        (names.get(key, key), show(environment[key]))
        for key, show in formats.items()
        if environment.get(key) is not None
    ]
    seeds = _distinct(str(record.seed) for record in run.records)
    # Where the environment has no commit, the records may have one.
    commits = [] if environment.get("commit") else _distinct(r.commit for r in run.records if r.commit)
    hashes = _distinct(r.data_sha256 for r in run.records if r.data_sha256)
    time = wall_time([run])
    extra = [
        ("wall time", [time] if time else []),
        ("commit", commits),
        ("seed", seeds),
        ("data SHA-256", hashes),
        ("packages", package_versions(run)),
    ]
    first = [("command", command)] if command is not None else []
    return first + known + [(name, ", ".join(values)) for name, values in extra if values]


def wall_time(runs: Sequence[Run]) -> str | None:
    """The time of the runs together, over all their sessions: ``8 min 32 s``, ``at least 1 h 05 min``."""
    times = [wall_seconds(run) for run in runs]
    known = [time for time in times if time is not None]
    if not known or len(known) < len(times):
        return None
    text = units.duration(sum(seconds for seconds, _ in known))
    return text if all(whole for _, whole in known) else f"at least {text}"


def package_versions(run: Run) -> list[str]:
    """Every package version that a trial ran with: ``torch 2.13.0``."""
    versions: dict[str, dict[str, None]] = {}
    sources = [*(record.packages for record in run.records), run.environment.get("packages") or {}]
    for packages in sources:
        for name, version in packages.items():
            versions.setdefault(name, {})[str(version)] = None
    return [f"{name} {' and '.join(used)}" for name, used in sorted(versions.items())]


def plan_notes(run: Run) -> list[str]:
    """The notes of planning and running, such as a search space with fewer configs than trials.

    Notes on the data are included only where ``data.json``, which has them too, is missing.
    """
    parts = ("notes",) if run.data else ("notes", "data_notes")
    return [str(note) for part in parts for note in run.environment.get(part) or []]


_PREDICTED = (
    "Of trials that were stopped early, whose settings no finished trial had in what memory depends on, it is "
    "predicted alone."
)


def memory_source(runs: Iterable[Run]) -> str:
    """How memory was measured, in a sentence."""
    sources = {record.memory_source for run in runs for record in run.records}
    ways = {
        "rss": "on the CPU as the peak resident memory of the process above its baseline, separately from training: in "
        "a process of its own that runs a few steps on the longest rows",
        "cuda": "on the GPU as the peak of allocated memory on the worker that needed most",
    }
    used = [text for source, text in ways.items() if source in sources]
    measured = (
        f"Memory was measured {'; and '.join(used)}." if used else "No memory was measured in this run."
    )
    return f"{measured} {_PREDICTED}" if "predicted" in sources else measured


def _text(value: Any) -> str:
    items = value if isinstance(value, list) else [value]
    return ", ".join(map(str, items)) or "none"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
