"""A model that an earlier trial trained, as a configuration names it."""

from __future__ import annotations

from pathlib import Path

from trainables.config.base import Frozen


class Trained(Frozen):
    """What a trial left. While that trial isn't known yet, ``cell`` alone says whose best it will be.

    >>> Trained(cell="sft-lora").identity
    'sft-lora'
    """

    cell: str | None = None  # of the same run
    # Its id, with @STEP for a checkpoint; for a folder that no trial left, the fingerprint of its contents.
    trial: str | None = None
    folder: Path | None = None  # its model/: weights or an adapter

    @property
    def identity(self) -> str | None:
        """What stands for it in another trial's id: no path does."""
        return self.trial or self.cell

    @property
    def label(self) -> str:
        """``the best of sft-lora`` or ``trial 3f2a9c81d0b4``."""
        return f"the best of {self.cell}" if self.cell else f"trial {self.trial}"

    @property
    def is_adapter(self) -> bool:
        """Whether what is there has to be put on what it was trained on."""
        return self.folder is not None and (self.folder / "adapter_config.json").is_file()
