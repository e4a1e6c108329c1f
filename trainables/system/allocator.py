"""The settings of torch's allocator for GPUs: expandable segments, unless the user has set others.

A segment that grows fits rows of any length, where many fixed ones would leave gaps that no batch fits in.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from trainables.system.machine import DEVICES, nvidia_devices

# torch reads the second name, too, and warns that it is the former one.
VARIABLE, FORMER = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"
DEFAULT = "expandable_segments:True"


def set_default(environment: MutableMapping[str, str] = os.environ, devices: Path = DEVICES) -> None:
    """Sets :data:`DEFAULT` where the system has an NVIDIA GPU and the user has set nothing.

    To be called before CUDA is used, as torch reads it only once.
    """
    # Windows' subsystem for Linux, which has other devices, doesn't support it.
    if nvidia_devices(devices) and settings(environment) is None:
        environment[VARIABLE] = DEFAULT


def settings(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """The settings as they are in the environment; ``None`` for torch's own."""
    return environment.get(VARIABLE, environment.get(FORMER))
