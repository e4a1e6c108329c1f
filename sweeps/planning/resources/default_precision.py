"""The precision of cells whose spec gives none: bf16 on CPUs and on GPUs that compute it, else fp16."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sweeps.planning.draft import Draft
from sweeps.planning.resources.place import Place
from sweeps.spec.settings import ResourcesConfig
from sweeps.spec.tree import CellPath, node_at
from trainables.config.train import TrainConfig
from trainables.system.capabilities import BF16_CAPABILITY

PRECISION: CellPath = ("train", "precision")
DTYPE: CellPath = ("model", "dtype")
USUAL = str(TrainConfig.model_fields["precision"].default)
# Weights in bf16 would be multiplied in emulation where autocast doesn't reach, as in scoring.
HALF = {"train": {"precision": "fp16"}, "model": {"dtype": "float16"}}
# The loss scaling of fp16 doesn't support weights that workers share.
SHARED = {"train": {"precision": "fp32"}}


@dataclass(frozen=True)
class DefaultPrecision:
    """``value`` is the precision of cells that leave it out and run on GPUs; ``reason`` says why, in words."""

    value: str = USUAL
    reason: str = ""

    def sections(self, draft: Draft, tree: Mapping[str, Any], gpus: Any) -> dict[str, Any]:
        """The sections of a cell's tree with what the spec leaves out; empty where nothing is to be changed.

        ``gpus``: those of a worker of the cell.
        """
        if self.value == USUAL or not gpus or not leaves_open(draft):
            return {}
        return _filled(_chosen(_plain(draft, ("train", "sharding"))), tree, tree)

    def note(self) -> str:
        """What the plan says about it."""
        return (
            f"train.precision is not given: on GPUs trials train in {self.value} with loss scaling, from weights in "
            f"float16 (with train.sharding in fp32), as {self.reason}"
        )


NOTHING_CHOSEN = DefaultPrecision()


def leaves_open(draft: Draft) -> bool:
    """Whether neither the spec nor an entry of it gives the cell's precision."""
    return PRECISION not in draft.broken and node_at(draft.parts, PRECISION) is None


def choose(drafts: Iterable[Draft], resources: ResourcesConfig, place: Place) -> DefaultPrecision:
    """For the cells of a sweep; the machines are asked only where a cell on GPUs gives no precision.

    One precision for all cells, so that they can be compared: a single GPU without bf16 decides.
    """
    if not any(leaves_open(draft) and gpus_of(draft, resources) for draft in drafts):
        return NOTHING_CHOSEN
    if place.begun is not None:
        return DefaultPrecision(place.begun.precision, "this run began with that")
    known = [machine.compute_capability for machine in place.machines if machine.compute_capability]
    oldest = min(known, default=BF16_CAPABILITY)
    if oldest >= BF16_CAPABILITY:
        return NOTHING_CHOSEN
    version = ".".join(map(str, oldest))
    return DefaultPrecision("fp16", f"{place.name} has a GPU without bf16 (compute capability {version})")


def fill(resolved: dict[str, Any], written: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """A resolved spec with the chosen precision, as far as the spec as ``written`` leaves it out."""
    train = written.get("train")
    if precision == USUAL or (isinstance(train, dict) and "precision" in train):
        return resolved
    chosen = _chosen(train.get("sharding") if isinstance(train, dict) else None)
    return {**resolved, **_filled(chosen, resolved, written)}


def _chosen(sharding: Any) -> Mapping[str, dict[str, str]]:
    return SHARED if sharding == "fsdp" else HALF


def _filled(
    chosen: Mapping[str, dict[str, str]], tree: Mapping[str, Any], written: Mapping[str, Any]
) -> dict[str, Any]:
    """The sections of ``tree`` with ``chosen`` settings in place of what is not ``written``."""
    filled = {}
    for name, settings in chosen.items():
        section, given = tree.get(name, {}), written.get(name)
        if isinstance(section, dict):  # else several models, or a mistake that is reported
            kept = given if isinstance(given, dict) else {}
            filled[name] = {**section, **{key: value for key, value in settings.items() if key not in kept}}
    return filled


def gpus_of(draft: Draft, resources: ResourcesConfig) -> Any:
    """The GPUs of a cell's worker: its own, or those of the sweep."""
    own = _plain(draft, ("resources", "gpus"))
    return resources.gpus if own is None else own


def _plain(draft: Draft, path: CellPath) -> Any:
    node = node_at(draft.parts, path)
    return None if node is None else node.plain()
