"""The fine-tuning methods. A new one is one file here and one line in the union.

``base.py`` has the interface: what trains, what is saved, and what "the reference policy" means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Discriminator, SerializeAsAny, Tag

from trainables.methods.badam import BAdam
from trainables.methods.freeze import Freeze
from trainables.methods.full import Full
from trainables.methods.lisa import LISA
from trainables.methods.lora import LoRA
from trainables.methods.own_method import OWN, OwnMethod, read_own, tag_of
from trainables.methods.peft_adapter import PeftAdapter
from trainables.methods.qlora import QLoRA

if TYPE_CHECKING:
    Own = OwnMethod
else:
    Own = Any  # which of one's own it is, its kind says

Method = Annotated[
    Annotated[Full, Tag("full")]
    | Annotated[Freeze, Tag("freeze")]
    | Annotated[LoRA, Tag("lora")]
    | Annotated[QLoRA, Tag("qlora")]
    | Annotated[PeftAdapter, Tag("peft")]
    | Annotated[LISA, Tag("lisa")]
    | Annotated[BAdam, Tag("badam")]
    | Annotated[Own, BeforeValidator(read_own), Tag(OWN)],
    Discriminator(tag_of),
    SerializeAsAny(),
]

__all__ = ["LISA", "BAdam", "Freeze", "Full", "LoRA", "Method", "PeftAdapter", "QLoRA"]
