"""A reference to a model that an earlier trial trained."""

from __future__ import annotations

from pathlib import Path

from trainables.config.base import FileName, Frozen


class TrainedModel(Frozen):
    """The model of a trial. While the trial isn't known yet, ``cell`` says whose best trial it will be.

    >>> TrainedModel(cell="sft-lora").identity
    'sft-lora'
    """

    cell: FileName | None = None  # of the same run
    # The trial's id, with @STEP for a checkpoint; for a folder that no trial made, the fingerprint of its contents.
    trial: FileName | None = None
    folder: Path | None = None  # its model/: weights or an adapter

    @property
    def identity(self) -> str | None:
        """What another trial's id contains for this model; never a path."""
        return self.trial or self.cell

    @property
    def label(self) -> str:
        """``the best of sft-lora`` or ``trial 3f2a9c81d0b4``."""
        return f"the best of {self.cell}" if self.cell else f"trial {self.trial}"

    @property
    def is_adapter(self) -> bool:
        """Whether the folder holds an adapter, which needs its base model."""
        return self.folder is not None and (self.folder / "adapter_config.json").is_file()
