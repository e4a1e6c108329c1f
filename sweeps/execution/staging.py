"""Models and data that a spec names by paths of the driver's machine, brought to nodes that don't have them.

Before the first trial all nodes that could host one are asked which of the files they have. Files that are missing on
some node are copied into the run folder, once; a trial that finds a path missing on its node uses the copy
(``trainables.trial.staged_inputs``).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sweeps.cluster import node_resources, remote_tasks, session
from sweeps.cluster.session import Node
from sweeps.execution import input_files
from sweeps.execution.input_files import InputFiles
from sweeps.planning.plan import Plan
from trainables.storage import files
from trainables.storage.damaged_files import read_object, reading
from trainables.storage.url_store import Store
from trainables.system.byte_sizes import GIB, gib
from trainables.trial import staged_inputs

PATIENCE_SECONDS = 60.0  # for all nodes together; a node's first worker process has to start
MIB = 2**20


def _staged(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    with reading(path):
        return dict(read_object(path)["paths"])


def stage(ray: Any, plan: Plan, run: Path, store: Store | None, log: Callable[[str], None]) -> None:
    """Copies the inputs that are missing on some node, unless they were copied before, and logs which, and their size.

    ``store``: the store of a run at a URL, where the copies go; ``None`` for the run's folder.
    """
    nodes = session.nodes(ray)
    hosts = node_resources.hosts(nodes, plan.resources)
    path = run / staged_inputs.INDEX_FILE
    staged = _staged(path)
    needed = {
        each.key: each
        for each in input_files.find_input_files([*(cell.first() for cell in plan.cells), *plan.bases])
    }
    wanted = [
        needed[key]
        for key in missing_inputs(ray, hosts, needed.values())
        # The entry has a hash of sizes and times, so inputs that have changed are copied again.
        if staged.get(key) != needed[key].to_json()
    ]
    if not wanted:
        return
    log(f"copied into the run's folder, for nodes where it is missing: {_summary(wanted)}")
    for inputs in wanted:
        _copy(inputs, run, store)
    # The index last, so that a trial finds every copy that the index names.
    paths = staged | {inputs.key: inputs.to_json() for inputs in wanted}
    files.write_json(path, {"url": store.url if store else None, "paths": paths})


def missing_inputs(ray: Any, hosts: Sequence[Node], needed: Iterable[InputFiles]) -> list[str]:
    """The keys of inputs of which some node lacks a file: all inputs where no node is up or one doesn't answer."""
    wanted = {each.key: [(str(path), size) for path, size in each.files.values()] for each in needed}
    if not wanted:
        return []
    answers = session.ask(ray, hosts, remote_tasks.missing_files, wanted, patience=PATIENCE_SECONDS)
    # `wanted` itself stands for all of its keys.
    lists = [wanted if answer.failure is not None else answer.value for answer in answers] or [wanted]
    return [key for key in wanted if any(key in each for each in lists)]


def _summary(wanted: Sequence[InputFiles]) -> str:
    size = sum(inputs.bytes for inputs in wanted)
    readable = gib(size, ".1f") if size >= GIB else f"{size / MIB:.1f} MiB"
    return f"{', '.join(inputs.key for inputs in wanted)} ({readable}, {size} bytes)"


def _copy(inputs: InputFiles, run: Path, store: Store | None) -> None:
    if store is None:
        with files.atomic_folder(run / staged_inputs.COPIES_FOLDER / inputs.hash) as folder:
            for name, path in _placed(inputs, folder):
                name.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, name)
        return
    with tempfile.TemporaryDirectory(prefix="paretune-") as folder:
        for name, path in _placed(inputs, Path(folder)):
            name.parent.mkdir(parents=True, exist_ok=True)
            # Links are enough: pushing reads through them, and takes the names of the copies from them.
            name.symlink_to(path)
        names = [name.partition("/")[2] for name in inputs.files]
        store.within(f"{staged_inputs.COPIES_FOLDER}/{inputs.hash}").push(Path(folder), names)


def _placed(inputs: InputFiles, folder: Path) -> Iterator[tuple[Path, Path]]:
    """For each file: the path of its copy below ``folder``, which holds these copies only, and its own path."""
    for name, (path, _) in inputs.files.items():
        yield folder / name.partition("/")[2], path
