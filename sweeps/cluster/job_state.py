"""What a slot's hub knows about the job that its worker group runs. No Ray and no waiting here, only the transitions.

>>> state = JobState({"trial_id": "3f2a9c81d0b4"})
>>> state.hand_out(group="first group", node_oom_kills=0)
>>> state.hand_out(group="second group", node_oom_kills=1)
>>> state.attempts, state.out_of_memory_kills
(2, 1)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class JobState:
    """One job, ``job["trial_id"]``, and what has happened to its worker groups so far.

    ``attempts`` counts how often the job was handed out since it last made progress; ``out_of_memory_kills`` counts the
    attempts that ended because a worker was killed when memory ran out.
    """

    job: dict[str, Any]
    attempts: int = 0
    out_of_memory_kills: int = 0
    # The job's record, written by the one worker of its group that failed.
    failed_record: dict[str, Any] | None = None
    handed_to: str | None = None  # the group whose first worker was handed the job last
    _memory_ran_out: bool = False  # whether the current attempt is already known to have ended that way
    # The node's count of out-of-memory kills when the job was last handed out.
    _node_oom_kills: int | None = None

    @property
    def trial_id(self) -> str:
        return str(self.job["trial_id"])

    def is_ready_for(self, rank: int, group: str) -> bool:
        """Whether a worker may have the job: the others of a group wait for its first worker, of rank 0."""
        return rank == 0 or self.handed_to == group

    def hand_out(self, group: str, node_oom_kills: int | None) -> None:
        """Begins another attempt with the first worker of ``group``, whose node counts ``node_oom_kills`` so far.

        A count that has changed since the last attempt means that the system killed that attempt's worker.
        """
        counts = (node_oom_kills, self._node_oom_kills)
        system_killed_it = None not in counts and node_oom_kills != self._node_oom_kills
        # Ray and the system may both report the same kill; it counts once, for the attempt that it ended.
        if self._memory_ran_out or system_killed_it:
            self.out_of_memory_kills += 1
        self.attempts += 1
        self.handed_to = group
        self._memory_ran_out, self._node_oom_kills = False, node_oom_kills

    def note_memory_ran_out(self) -> None:
        """Ray's memory monitor killed a worker of the current attempt."""
        self._memory_ran_out = True

    def note_progress(self) -> None:
        """The job has saved a checkpoint, so later attempts start there: attempts are counted anew."""
        self.attempts = 0

    def note_moved(self) -> None:
        """The job was left to continue on another node; that attempt did not fail."""
        self.attempts = max(0, self.attempts - 1)

    def for_worker(self) -> dict[str, Any]:
        """The job as a worker receives it."""
        history = {
            "attempt": self.attempts,
            "out_of_memory_kills": self.out_of_memory_kills,
            "failed": self.failed_record,
        }
        return {**self.job, **history}
