"""Which files of a run at a URL are in the driver's mirror of it, too, and in which order they go there."""

from __future__ import annotations

STAYS = ("merged/", "given/", "wandb/")  # what is at the URL and not needed here
SENT = "wandb/sent/"  # ... but for the marks of what W&B has been told
WANDB_RANK, LAST_RANK = 4, 5


def wanted(name: str) -> bool:
    """Whether a file at the URL is needed here: not models, checkpoints, and what only workers use."""
    parts = name.split("/")
    of_trial = parts[2] if parts[0] == "trials" and len(parts) > 3 else ""
    heavy = of_trial == "model" or of_trial.startswith("checkpoint-")
    stays = name.startswith(STAYS) and not name.startswith(SENT)
    return not heavy and not stays and not hidden(name)


def own(name: str) -> bool:
    """Whether a file here belongs at the URL: not what processes keep for themselves."""
    return not hidden(name) and not name.endswith((".lock", ".tmp")) and not name.startswith("wandb/own/")


def hidden(name: str) -> bool:
    """``.lock``, ``.stop``, Ray's own state, files that are being written."""
    return any(part.startswith(".") for part in name.split("/"))


def order(name: str) -> int:
    """What is pushed first: a study knows a trial before its config is there, and a run is one once all else is."""
    if name.startswith("wandb/"):
        return LAST_RANK if name.startswith(SENT) else WANDB_RANK
    if name == "environment.json":
        return 3
    if not name.startswith("trials/"):
        return 0
    return 1 if name.endswith("/config.json") else 2
