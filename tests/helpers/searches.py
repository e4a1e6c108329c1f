"""A sweep's searcher without Ray, on machines with capacity for everything unless a test says otherwise."""

from __future__ import annotations

from pathlib import Path

from sweeps.cluster.packing import Machine
from sweeps.planning.plan import Plan
from sweeps.runs.mirror import NoMirror, RunMirror
from sweeps.search.admission import Admission
from sweeps.search.remaining_work import RemainingWork
from sweeps.search.searcher import CellSearch
from sweeps.search.shutdown import Shutdown
from sweeps.search.trial_queue import TrialQueue
from sweeps.search.trial_sizes import Sizes

LARGE = Machine("large", cpus=10_000, gpus=1_000)


def search_of(
    plan: Plan,
    run: Path,
    sizes: Sizes | None = None,
    admission: Admission | None = None,
    mirror: RunMirror | None = None,
) -> CellSearch:
    work = RemainingWork(plan, run)
    queue = TrialQueue(work, sizes or Sizes(()), admission or Admission(lambda: [LARGE], limit=10_000))
    return CellSearch(work, queue, mirror or NoMirror(), Shutdown())
