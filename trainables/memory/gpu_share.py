"""What a worker that shares a GPU may allocate of its memory. Imports torch late, since plans ask for it, too."""

from __future__ import annotations

from trainables.system.byte_sizes import GIB

# Of a GPU, for each process's CUDA context: torch's allocator doesn't count it.
CONTEXT_BYTES = GIB // 2


def allocator_limit(gpu_bytes: int, gpus: float) -> int | None:
    """The most bytes that a worker may allocate that takes ``gpus`` of a GPU of ``gpu_bytes``; ``None`` where it has
    whole GPUs.

    The CUDA context is within the share, so that all shares together are no more than the GPU.

    >>> allocator_limit(24 * GIB, 0.5) == 11.5 * GIB
    True
    >>> allocator_limit(24 * GIB, 1) is None
    True
    """
    return max(0, int(gpu_bytes * gpus) - CONTEXT_BYTES) if 0 < gpus < 1 else None


def limit_allocator(gpus: float) -> None:
    """Limits what this process may allocate on its current GPU, where it has the share ``gpus`` of it.

    Then a trial that takes more runs out of memory itself, and not another trial on the same GPU.
    """
    import torch

    device = torch.cuda.current_device()
    total = torch.cuda.get_device_properties(device).total_memory
    limit = allocator_limit(total, gpus)
    if limit is not None:
        torch.cuda.set_per_process_memory_fraction(limit / total, device)
