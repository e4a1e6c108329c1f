"""The fine-tuning methods. A new one is one file here and one line in the union.

``base.py`` has the interface: what trains, what is saved, and what "the reference policy" means.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainables.methods.badam import BAdam
from trainables.methods.freeze import Freeze
from trainables.methods.full import Full
from trainables.methods.lisa import LISA
from trainables.methods.lora import LoRA
from trainables.methods.peft_adapter import PeftAdapter
from trainables.methods.qlora import QLoRA

Method = Annotated[Full | Freeze | LoRA | QLoRA | PeftAdapter | LISA | BAdam, Field(discriminator="kind")]

__all__ = ["LISA", "BAdam", "Freeze", "Full", "LoRA", "Method", "PeftAdapter", "QLoRA"]
