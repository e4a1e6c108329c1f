"""What a hub knows about its job: attempts, kills for want of memory, and which worker may have it. No Ray."""

from __future__ import annotations

import pytest

from sweeps.cluster.job_state import JobState


def state() -> JobState:
    return JobState({"trial_id": "a", "steps": 3})


def test_a_job_that_was_never_handed_out_has_no_history() -> None:
    assert state().for_worker() == {
        "trial_id": "a",
        "steps": 3,
        "attempt": 0,
        "out_of_memory_kills": 0,
        "failed": None,
    }


def test_the_first_worker_may_always_have_the_job_and_the_others_once_it_has_it() -> None:
    job = state()
    assert job.is_ready_for(0, "new")
    assert not job.is_ready_for(1, "new")
    job.hand_out("new", None)
    assert job.is_ready_for(1, "new")
    assert not job.is_ready_for(1, "newer")


def test_progress_counts_attempts_anew_and_moving_takes_one_back() -> None:
    job = state()
    for _ in range(3):
        job.hand_out("group", None)
    job.note_moved()
    assert job.attempts == 2
    job.note_progress()
    assert job.attempts == 0
    job.note_moved()  # it was moved right after it had saved itself
    assert job.attempts == 0


@pytest.mark.parametrize(
    ("counts", "kills"),
    [([0, 0, 0], 0), ([0, 1, 1], 1), ([3, 5, 6], 2), ([None, 1, 2], 1), ([1, None, 2], 0), ([5, 0], 1)],
)
def test_a_changed_count_of_the_nodes_kills_is_one_kill_an_attempt(
    counts: list[int | None], kills: int
) -> None:
    """Also a smaller count: the job was handed to another node, and nobody knows whether memory ran out there."""
    job = state()
    for count in counts:
        job.hand_out("group", count)
    assert job.out_of_memory_kills == kills


def test_a_kill_that_ray_and_the_system_both_report_counts_once() -> None:
    job = state()
    job.hand_out("group", 0)
    job.note_memory_ran_out()
    job.note_memory_ran_out()
    job.hand_out("group", 1)
    assert job.out_of_memory_kills == 1
    job.hand_out("group", 1)
    assert job.out_of_memory_kills == 1


def test_progress_does_not_forget_that_memory_ran_out() -> None:
    job = state()
    job.hand_out("group", 0)
    job.note_progress()
    job.note_memory_ran_out()
    job.hand_out("group", 0)
    assert (job.attempts, job.out_of_memory_kills) == (1, 1)


def test_a_failed_workers_record_goes_along_with_the_job() -> None:
    job = state()
    job.failed_record = {"status": "failed"}
    assert job.for_worker()["failed"] == {"status": "failed"}
