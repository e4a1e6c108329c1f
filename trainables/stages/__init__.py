"""The training stages. A new one is one file here and one line in the union; see ``protocol.py``."""

from __future__ import annotations

from trainables.stages.sft import SFT

Stage = SFT  # from the second stage on: Annotated[SFT | ..., Field(discriminator="kind")]

__all__ = ["SFT", "Stage"]
