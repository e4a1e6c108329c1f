"""The training stages. A new stage is one file here and one line in the union; see ``base.py``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainables.stages.classification import Classification
from trainables.stages.dpo import DPO
from trainables.stages.grpo.stage import GRPO
from trainables.stages.kto import KTO
from trainables.stages.orpo import ORPO
from trainables.stages.ppo.stage import PPO
from trainables.stages.pretrain import Pretrain
from trainables.stages.reward import Reward
from trainables.stages.sft import SFT
from trainables.stages.simpo import SimPO

Stage = Annotated[
    SFT | Pretrain | Classification | Reward | PPO | GRPO | DPO | KTO | ORPO | SimPO,
    Field(discriminator="kind"),
]

__all__ = [
    "DPO",
    "GRPO",
    "KTO",
    "ORPO",
    "PPO",
    "SFT",
    "Classification",
    "Pretrain",
    "Reward",
    "SimPO",
    "Stage",
]
