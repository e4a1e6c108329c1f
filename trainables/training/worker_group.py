"""The workers that train one trial together: how many there are, which one this is, and what happens if one fails.

All of them do the same in lockstep: if one fails alone, the others would wait for it forever.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.results import Record

FAILURE_WAIT = timedelta(seconds=20)  # for the others to report the same failure
_failures = itertools.count()


class WorkerGroupBroken(BaseException):
    """A worker failed alone or is gone: this worker's process has to end, so that none waits for another.

    No ``Exception``, since the trial hasn't failed: a new group resumes it, or only has to write ``record``, which says
    what happened to this worker alone.
    """

    def __init__(self, reason: str | None, record: Record | None = None) -> None:
        super().__init__(reason)
        self.record = record


def worker_count() -> int:
    """How many processes train together; 1 without a group."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_worker() -> bool:
    """Whether this is the worker that writes files: the only one, or the first of several."""
    return _rank() == 0


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def largest_over_workers(numbers: Sequence[int]) -> list[int]:
    """Each number's largest over all workers, which all have to call this; without a process group the numbers."""
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return list(numbers)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shared = torch.tensor(numbers, dtype=torch.int64, device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.MAX)
    return [int(number) for number in shared.tolist()]


def mean_over_workers(value: float) -> float:
    """The mean over all workers, which all have to call this; without a process group the value itself."""
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.all_reduce(shared, op=distributed.ReduceOp.SUM)
    return float(shared) / distributed.get_world_size()


def first_workers(value: float) -> float:
    """The first worker's value; all workers have to call this. Without a process group the value itself."""
    import torch
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return value
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(shared, src=0)
    return float(shared)


def is_lost_worker(error: BaseException) -> bool:
    """Whether an error only says that another worker is gone, or no longer at the same operation."""
    from torch import distributed

    message = str(error).lower()
    # gloo and NCCL raise plain RuntimeErrors for lost connections, which only the message tells apart.
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError)
        and any(word in message for word in ("gloo", "closed by peer", "nccl"))
    )


def all_workers_failed(error: str) -> bool:
    """Whether every worker of the group failed with the same error, and so at the same place.

    The workers exchange this through the group's store: the group itself may be stuck in another operation.
    """
    from torch import distributed

    if not distributed.is_initialized():
        return True  # no other worker can be waiting
    # The store keeps its keys: without a number, a second failure would read what was said about the first.
    number = next(_failures)
    keys = [f"paretune/failed/{number}/{rank}" for rank in range(worker_count())]
    try:
        store = distributed.distributed_c10d._get_default_store()
        store.set(keys[_rank()], error)
        store.wait(keys, FAILURE_WAIT)
        return all(store.get(key).decode() == error for key in keys)
    except (RuntimeError, distributed.DistError):
        return False


def save_on_this_worker(model: Any, folder: Path | str) -> None:
    """Saves a whole model on this worker; transformers (checked with 5.24) would save on the first worker only."""
    model.should_save_on_this_rank = lambda is_main_process: True
    model.save_pretrained(folder)
