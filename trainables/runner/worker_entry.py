"""The function that Ray Train runs in each worker of a slot. It imports the rest late, once the worker has started."""

from __future__ import annotations

from typing import Any


def serve(settings: dict[str, Any]) -> None:
    """The train loop of the slot's ``TorchTrainer``: runs jobs until the hub has no more.

    ``settings``: the actors ``hub`` and ``board``; ``cpus`` and ``gpus``, the CPU cores and GPUs of one worker.
    """
    from trainables.system import allocator, quiet

    quiet.silence()  # before the libraries are imported that it silences
    allocator.set_default()
    from trainables.runner.worker_loop import WorkerLoop

    loop = WorkerLoop.setup(**settings)
    try:
        loop.serve_jobs()
    finally:
        loop.close()
