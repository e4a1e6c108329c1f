"""What a spec asks for by name that a machine may lack: found while planning, never replaced in silence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.spec import Spec
    from trainables.config import TrialConfig

# That a CPU has these, or in fp16's case hasn't, is known; only GPUs are asked, which takes seconds.
ASKED_OF_GPUS = frozenset({"bf16", "fp16", "bitsandbytes 4-bit", "bitsandbytes 8-bit"})


def lacking(spec: Spec, config: TrialConfig) -> Iterator[tuple[tuple[str, str], str]]:
    """((section, leaf), what is wrong) for all that a trial needs and this machine can't do."""
    from trainables import capabilities

    for place, what in config.needs():
        if what in ASKED_OF_GPUS and not spec.resources.gpus:
            continue
        found = capabilities.check(what)
        if not found.works:
            yield place, f"{what} doesn't work on this machine: {found.detail}"
