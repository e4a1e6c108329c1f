"""The process that the checks run in, as it was before a case."""

from __future__ import annotations

from contextlib import suppress


def restore_process() -> None:
    """Frees what a case left, and resets what it may have set: the allocator's limit, statistics, warnings of torch."""
    import torch

    from trainables.training.trainer_setup import clean_process

    # After an error of the device nothing can be freed, which `is_healthy` then says.
    with suppress(Exception):
        clean_process()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.set_per_process_memory_fraction(1.0)
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def is_healthy() -> bool:
    """Whether the process can still compute on its device: some errors of a GPU last as long as the process."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return float(torch.ones(64, device=device).sum()) == 64.0
    except Exception:
        return False


def allocated_bytes() -> int:
    """What torch's allocator has handed out on the GPU; 0 on a CPU, where nothing counts that."""
    import torch

    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0
