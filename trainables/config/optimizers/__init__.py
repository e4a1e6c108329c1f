"""The optimizers. A new one is one file here and one line in the union, and a torch class if no library has one.

``base.py`` has the interface; ``trainables.training.optimizers`` has the torch classes that are Paretune's own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from trainables.config.optimizers.adafactor import Adafactor
from trainables.config.optimizers.adamw import AdamW
from trainables.config.optimizers.base import OptimizerSettings, TrainedTensor
from trainables.config.optimizers.sgd import SGD

NAMED: dict[str, OptimizerSettings] = {
    "adamw": AdamW(),
    "adamw_8bit": AdamW(bits=8),
    "paged_adamw": AdamW(paged=True),
    "paged_adamw_8bit": AdamW(bits=8, paged=True),
    "sgd": SGD(),
    "adafactor": Adafactor(),
}
Name = Literal["adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "sgd", "adafactor"]
KINDS: dict[str, type[OptimizerSettings]] = {"adamw": AdamW, "sgd": SGD, "adafactor": Adafactor}


def _tag(value: Any) -> str:
    """Which member of the union a value is of: the name of one, or its settings by their ``kind``."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in KINDS else "name"


Optimizer = Annotated[
    Annotated[Name, Tag("name")]
    | Annotated[AdamW, Tag("adamw")]
    | Annotated[SGD, Tag("sgd")]
    | Annotated[Adafactor, Tag("adafactor")],
    Discriminator(_tag),
]

__all__ = ["KINDS", "NAMED", "Name", "Optimizer", "OptimizerSettings", "TrainedTensor"]
