"""The workers that train a trial together: how many there are, which one this is, and what befalls one of them.

All of them do the same, in step: where one fails alone, the others would wait for it for good.
"""

from __future__ import annotations

import itertools
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainables.results import Record

PATIENCE = timedelta(seconds=20)  # for the others to fail, too
_failures = itertools.count()


class GroupBroken(BaseException):
    """One worker failed and the others didn't, or is gone: this one's process has to end, so that none waits for it.

    No failure of the trial's, so it isn't caught as one: a new group goes on with it, or has only to write ``record``,
    which says what befell this worker alone.
    """

    def __init__(self, why: str | None, record: Record | None = None) -> None:
        super().__init__(why)
        self.record = record


def workers() -> int:
    """How many processes train together; 1 for a lone one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def first_rank() -> bool:
    """Whether this is the worker that writes: the only one, or the first of several."""
    return _rank() == 0


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def is_lost_worker(error: BaseException) -> bool:
    """Whether an error says no more than that another worker is gone, or is no longer where this one is."""
    from torch import distributed

    said = str(error).lower()
    return isinstance(error, distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in said for word in ("gloo", "closed by peer", "nccl"))
    )


def all_failed(what: str) -> bool:
    """Whether every worker of the group failed in the same way, which is then at the same place.

    Asked through the group's store, as the group itself may be waiting for something else.
    """
    from torch import distributed

    if not distributed.is_initialized():
        return True  # nobody can be waiting
    number = next(_failures)
    keys = [f"paretune/failed/{number}/{rank}" for rank in range(workers())]
    try:
        store = distributed.distributed_c10d._get_default_store()
        store.set(keys[_rank()], what)
        store.wait(keys, PATIENCE)
        return all(store.get(key).decode() == what for key in keys)
    except (RuntimeError, distributed.DistError):
        return False


def save_here(model: Any, folder: Path | str) -> None:
    """Saves a whole model, whichever worker asks: transformers lets the first of several alone do that."""
    model.should_save_on_this_rank = lambda is_main_process: True
    model.save_pretrained(folder)
