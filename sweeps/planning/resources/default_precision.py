"""The precision of cells whose spec gives none: bf16 where it is computed, else fp16 on GPUs and fp32 on CPUs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeps.planning.draft import Draft
from sweeps.planning.resources.place import Place
from sweeps.spec.settings import ResourcesConfig
from sweeps.spec.tree import CellPath, node_at
from trainables.config.train import TrainConfig
from trainables.system.capabilities import BF16_CAPABILITY
from trainables.system.machine import NO_BF16_PRODUCTS as NO_BF16

if TYPE_CHECKING:
    from sweeps.planning.cell import Cell

PRECISION: CellPath = ("train", "precision")
DTYPE: CellPath = ("model", "dtype")
USUAL = str(TrainConfig.model_fields["precision"].default)
# Weights in bf16 would be multiplied in emulation where autocast doesn't reach, as in scoring.
HALF = {"train": {"precision": "fp16"}, "model": {"dtype": "float16"}}
# The loss scaling of fp16 doesn't support weights that workers share.
SHARED = {"train": {"precision": "fp32"}}
WHOLE = {"train": {"precision": "fp32"}, "model": {"dtype": "float32"}}


@dataclass(frozen=True)
class DefaultPrecision:
    """``value`` is the precision of cells that leave it out and run on GPUs or, with ``on_cpus``, on CPUs; ``reason``
    says why, in words.
    """

    value: str = USUAL
    reason: str = ""
    on_cpus: bool = False

    def sections(self, draft: Draft, tree: Mapping[str, Any], gpus: Any) -> dict[str, Any]:
        """The sections of a cell's tree with what the spec leaves out; empty where nothing is to be changed.

        ``gpus``: those of a worker of the cell.
        """
        if self.value == USUAL or bool(gpus) == self.on_cpus or not leaves_open(draft, self.on_cpus):
            return {}
        return _filled(_chosen(self.value, _plain(draft, ("train", "sharding"))), tree, tree)

    def note(self) -> str:
        """What the plan says about it."""
        how = (
            "trials train in fp32, from weights in float32"
            if self.on_cpus
            else f"on GPUs trials train in {self.value} with loss scaling, from weights in float16 (with "
            "train.sharding in fp32)"
        )
        return f"train.precision is not given: {how}, as {self.reason}"


NOTHING_CHOSEN = DefaultPrecision()


def leaves_open(draft: Draft, on_cpus: bool = False) -> bool:
    """Whether neither the spec nor an entry of it gives the cell's precision, ``on_cpus`` also the type of its weights:
    in fp32, weights in bf16 would be multiplied as slowly as before.
    """
    given = (PRECISION, DTYPE) if on_cpus else (PRECISION,)
    return all(path not in draft.broken and node_at(draft.parts, path) is None for path in given)


def choose(drafts: Iterable[Draft], resources: ResourcesConfig, place: Place) -> DefaultPrecision:
    """For the cells of a sweep; the machines are asked only where a cell gives no precision.

    One precision for all cells, so that they can be compared: a single GPU without bf16 decides; where no cell is on
    GPUs, a single processor.
    """
    drafts = list(drafts)
    on_cpus = not any(gpus_of(draft, resources) for draft in drafts)
    if not any(leaves_open(draft, on_cpus) and (on_cpus or gpus_of(draft, resources)) for draft in drafts):
        return NOTHING_CHOSEN
    if place.begun is not None:
        return DefaultPrecision(place.begun.precision, "this run began with that", on_cpus)
    return _on_cpus(place) if on_cpus else _on_gpus(place)


def notes(precision: DefaultPrecision, cells: Iterable[Cell], place: Place) -> list[str]:
    """What the plan says of a precision that was chosen, or of bf16 that the spec gives to a processor without it."""
    if precision.value != USUAL:
        return [precision.note()]
    configs = [cell.first() for cell in cells if not cell.resources.gpus]
    in_bf16 = any("bf16" in config.train.precision or config.model.dtype == "bfloat16" for config in configs)
    if not in_bf16 or place.begun is not None or all(machine.cpu_bf16 for machine in place.machines):
        return []
    advice = "Leave train.precision and model.dtype out, or give fp32 and float32"
    return [f"trials compute in bf16, and {place.name} has a processor for which {NO_BF16}. {advice}"]


def _on_cpus(place: Place) -> DefaultPrecision:
    if all(machine.cpu_bf16 for machine in place.machines):
        return NOTHING_CHOSEN
    return DefaultPrecision("fp32", f"{place.name} has a processor for which {NO_BF16}", on_cpus=True)


def _on_gpus(place: Place) -> DefaultPrecision:
    known = [machine.compute_capability for machine in place.machines if machine.compute_capability]
    oldest = min(known, default=BF16_CAPABILITY)
    if oldest >= BF16_CAPABILITY:
        return NOTHING_CHOSEN
    version = ".".join(map(str, oldest))
    return DefaultPrecision("fp16", f"{place.name} has a GPU without bf16 (compute capability {version})")


def fill(resolved: dict[str, Any], written: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """A resolved spec with the chosen precision, as far as the spec as ``written`` leaves it out."""
    train, model = written.get("train"), written.get("model")
    given = isinstance(train, dict) and "precision" in train
    weights_given = isinstance(model, dict) and "dtype" in model
    if precision == USUAL or given or (precision == "fp32" and weights_given):
        return resolved
    chosen = _chosen(precision, train.get("sharding") if isinstance(train, dict) else None)
    return {**resolved, **_filled(chosen, resolved, written)}


def _chosen(precision: str, sharding: Any) -> Mapping[str, dict[str, str]]:
    if precision == "fp32":
        return WHOLE
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
