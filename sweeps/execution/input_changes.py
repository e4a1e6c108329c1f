"""Which model or data file is no longer what a run was started with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sweeps.planning.plan import Plan
from sweeps.spec.problems import Problem
from trainables.config.data import DataConfig

ADVICE = "Restore it, or start a new run under another name"


def file_states(plan: Plan) -> dict[str, list[int]]:
    """Size (bytes) and modification time (ns) of each data file of a plan, by path.

    They only tell which file has changed; that rows have changed is told by their hash.
    """
    paths = {Path(name) for config in plan.first_configs for name in _names(config.data)}
    return {
        str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in sorted(paths) if path.is_file()
    }


def problems(plan: Plan, previous: dict[str, Any]) -> list[Problem]:
    """A problem for each model and data set whose contents differ from those in ``environment.json``."""
    contents = previous.get("contents") or []
    models, data = ({pair[place] for pair in contents} for place in (0, 1))
    found = []
    for config in plan.first_configs:
        if config.model.fingerprint not in models:
            what = f"the files of {config.model.label} are not those this run was started with. {ADVICE}"
            found.append(plan.spec.source.problem(("model",), what))
        if config.data.contents not in data:
            found += [
                plan.spec.source.problem(("data", key), f"{what}. {ADVICE}")
                for key, what in _changed_data(config.data, previous.get("files", {}), file_states(plan))
            ]
    if not found:  # models and data sets that are paired otherwise than before
        what = f"the model's and the data's files are not those this run was started with. {ADVICE}"
        found.append(Problem(str(plan.spec.source.file), "", what))
    return list(dict.fromkeys(found))


def _changed_data(
    config: DataConfig, before: dict[str, list[int]], now: dict[str, list[int]]
) -> Iterator[tuple[str, str]]:
    """(``train`` or ``eval``, what has changed) for each file that differs; the data set as a whole if none does."""
    changed = False
    held_out = (*config.eval_names, *(name for names in config.further_sets.values() for name in names))
    for key, names in (("train", config.names), ("eval", held_out)):
        for name in names:
            if name in before and before[name] != now.get(name):
                changed = True
                yield (
                    key,
                    f"{Path(name).name} has changed since this run was started{_sizes(before[name], now.get(name))}",
                )
    if not changed:
        yield "train", f"the rows of {config.label} are not those this run was started with"


def _sizes(before: list[int], now: list[int] | None) -> str:
    if now is None or before[0] == now[0]:
        return ""
    return f": it had {before[0]:,} bytes and has {now[0]:,}"


def _names(config: DataConfig) -> tuple[str, ...]:
    return config.source_names
