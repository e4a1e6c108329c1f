"""Models and data that a spec names by paths of the driver's machine, brought to nodes that don't have them.

Before the first trial all nodes that could host one are asked which of the files they have. What some lack is copied
into the run folder, once; a trial that finds a path missing on its node takes the copy
(``trainables.trial.staged_inputs``).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sweeps.cluster import node_resources, remote_tasks, session
from sweeps.cluster.session import Node
from sweeps.execution import input_files
from sweeps.execution.input_files import Thing
from sweeps.planning.plan import Plan
from trainables.storage import files
from trainables.storage.url_store import Store
from trainables.system.byte_sizes import GIB, gib
from trainables.trial import staged_inputs

PATIENCE_SECONDS = 60.0  # for all nodes together; a node's first worker process has to start
MIB = 2**20


def stage(ray: Any, plan: Plan, run: Path, store: Store | None, say: Callable[[str], None]) -> None:
    """Copies what nodes lack, unless it has been copied before, and says in a line what and how much."""
    nodes = session.nodes(ray)
    hosts = node_resources.hosts(nodes, plan.resources)
    path = run / staged_inputs.INDEX_FILE
    known = json.loads(path.read_text(encoding="utf-8"))["paths"] if path.exists() else {}
    needed = {
        thing.key: thing for thing in input_files.of([*(cell.first() for cell in plan.cells), *plan.bases])
    }
    wanted = [
        needed[key] for key in lacking(ray, hosts, needed.values()) if not _is_staged(needed[key], known)
    ]
    if not wanted:
        return
    say(f"copied into the run's folder, for nodes that lack it: {_named(wanted)}")
    for thing in wanted:
        _copy(thing, run, store)
    paths = known | {thing.key: thing.to_json() for thing in wanted}
    files.write_json(path, {"url": store.url if store else None, "paths": paths})


def lacking(ray: Any, hosts: Sequence[Node], needed: Iterable[Thing]) -> list[str]:
    """What some node doesn't have, by key. Where no node is up yet, or one doesn't answer, that is everything."""
    wanted = {thing.key: [(str(path), size) for path, size in thing.files.values()] for thing in needed}
    if not wanted:
        return []
    answers = session.ask(ray, hosts, remote_tasks.lacking, wanted, patience=PATIENCE_SECONDS)
    lists = [wanted if answer.failure is not None else answer.value for answer in answers] or [wanted]
    return [key for key in wanted if any(key in each for each in lists)]


def _is_staged(thing: Thing, known: dict[str, Any]) -> bool:
    return bool(known.get(thing.key) == thing.to_json())


def _named(wanted: Sequence[Thing]) -> str:
    size = sum(thing.bytes for thing in wanted)
    shown = gib(size, ".1f") if size >= GIB else f"{size / MIB:.1f} MiB"
    return f"{', '.join(thing.key for thing in wanted)} ({shown}, {size} bytes)"


def _copy(thing: Thing, run: Path, store: Store | None) -> None:
    if store is None:
        with files.atomic_folder(run / staged_inputs.COPIES_FOLDER / thing.hash) as folder:
            for name, path in _placed(thing, folder):
                name.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, name)
        return
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        for name, path in _placed(thing, Path(folder)):
            name.parent.mkdir(parents=True, exist_ok=True)
            name.symlink_to(path)
        names = [name.partition("/")[2] for name in thing.files]
        store.within(f"{staged_inputs.COPIES_FOLDER}/{thing.hash}").push(Path(folder), names)


def _placed(thing: Thing, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Where each file goes in the thing's own folder, and where it is now."""
    for name, (path, _) in thing.files.items():
        yield folder / name.partition("/")[2], path
