"""The optimizers. A new one is one file here and one line in the union, and a torch class if no library has one.

``base.py`` has the interface; ``trainables.training.optimizers`` has the torch classes that are Paretune's own.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from trainables.config.optimizers.adafactor import Adafactor
from trainables.config.optimizers.adamw import AdamW
from trainables.config.optimizers.ademamix import AdEMAMix
from trainables.config.optimizers.apollo import Apollo, ApolloMini
from trainables.config.optimizers.base import OptimizerSettings, TrainedTensor
from trainables.config.optimizers.galore import GaLore
from trainables.config.optimizers.lion import Lion
from trainables.config.optimizers.lomo import AdaLomo, Lomo
from trainables.config.optimizers.muon import Muon
from trainables.config.optimizers.schedule_free import ScheduleFree
from trainables.config.optimizers.sgd import SGD
from trainables.config.optimizers.stable_adamw import StableAdamW

Name = Literal[
    "adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "sgd", "adafactor", "lion", "ademamix", "muon",
    "schedule_free", "galore", "apollo", "apollo_mini", "lomo", "adalomo", "stable_adamw",
]  # fmt: skip
CLASSES: tuple[type[OptimizerSettings], ...] = (
    AdamW, SGD, Adafactor, Lion, AdEMAMix, Muon, ScheduleFree, GaLore, Apollo, ApolloMini, Lomo, AdaLomo, StableAdamW,
)  # fmt: skip
KINDS: dict[str, type[OptimizerSettings]] = {str(cls.model_fields["kind"].default): cls for cls in CLASSES}
# What each name stands for: a kind as it is, and the forms of AdamW that had a name before there were settings.
NAMED: dict[str, OptimizerSettings] = {
    **{kind: cls() for kind, cls in KINDS.items()},
    "adamw_8bit": AdamW(bits=8),
    "paged_adamw": AdamW(paged=True),
    "paged_adamw_8bit": AdamW(bits=8, paged=True),
}


def named(settings: Any) -> Any:
    """The name of settings that have one, else what is given."""
    return next((name for name, each in NAMED.items() if each == settings), settings)


def _tag(value: Any) -> str:
    """Which member of the union a value is of: the name of one, or its settings by their ``kind``."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if isinstance(kind, str) and kind in KINDS else "name"


Optimizer = Annotated[
    Annotated[Name, Tag("name")]
    | Annotated[AdamW, Tag("adamw")]
    | Annotated[SGD, Tag("sgd")]
    | Annotated[Adafactor, Tag("adafactor")]
    | Annotated[Lion, Tag("lion")]
    | Annotated[AdEMAMix, Tag("ademamix")]
    | Annotated[Muon, Tag("muon")]
    | Annotated[ScheduleFree, Tag("schedule_free")]
    | Annotated[GaLore, Tag("galore")]
    | Annotated[Apollo, Tag("apollo")]
    | Annotated[ApolloMini, Tag("apollo_mini")]
    | Annotated[Lomo, Tag("lomo")]
    | Annotated[AdaLomo, Tag("adalomo")]
    | Annotated[StableAdamW, Tag("stable_adamw")],
    Discriminator(_tag),
]

__all__ = ["KINDS", "NAMED", "Name", "Optimizer", "OptimizerSettings", "TrainedTensor", "named"]
