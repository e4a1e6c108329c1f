"""EVA (Paischer et al., 2024, arXiv:2410.07170): LoRA's A begins with the directions in which its layer's inputs vary
most, on the first training examples. All layers keep the rank that was asked for (``rho`` = 1 in the paper's terms).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from trainables.methods.frozen_weights import keeping_frozen

if TYPE_CHECKING:
    from torch import Tensor, nn

NAME = "eva"
EXAMPLES = 64  # that are looked at
TOKENS = 128  # whose inputs are held at a time, at least
SEED = 42  # PEFT's, of the decomposition's random projection


class _Inputs:
    """The principal components of the inputs of one layer, and of others that receive the same."""

    def __init__(self, rank: int) -> None:
        self.rank, self.held, self.components = rank, [], None  # type: tuple[int, list[Tensor], Tensor | None]
        self._analysis: Any = None

    def add(self, inputs: Tensor) -> None:
        """Takes the inputs of some tokens: (..., width)."""
        self.held.append(inputs.detach().reshape(-1, inputs.shape[-1]))
        if sum(map(len, self.held)) >= max(2 * self.rank, TOKENS):
            self.fit()

    def fit(self) -> None:
        """Takes in what is held, unless these are fewer tokens than components."""
        import torch
        from peft.utils.incremental_pca import IncrementalPCA

        if sum(map(len, self.held)) >= self.rank:
            rows, self.held = torch.cat(self.held).float(), []
            if self._analysis is None:
                low = 2 * self.rank <= rows.shape[1]  # PEFT's approximation computes twice the components
                self._analysis = IncrementalPCA(self.rank, copy=True, lowrank=low, lowrank_seed=SEED)
            self._analysis.partial_fit(rows)
            self.components = self._analysis.components_


def start_from_inputs(model: Any, texts: Sequence[Sequence[int]]) -> None:
    """Sets A of all linear layers with an adapter, by a forward pass of the base for each of the ``texts``, in tokens.

    A layer that sees fewer tokens than its rank keeps what was drawn. Raises ``ValueError`` where all do.
    """
    import torch

    layers = dict(_adapted(model))
    by_layer: dict[nn.Module, _Inputs] = {}
    # Of the last layer that ran: queries, keys and values receive one tensor.
    last: list[tuple[Tensor, _Inputs]] = []

    def watch(layer: nn.Module, received: tuple[Any, ...]) -> None:
        known, inputs = by_layer.get(layer), received[0]
        if last and last[0][0] is inputs and known in (None, last[0][1]):
            by_layer[layer] = last[0][1]
            return
        known = by_layer[layer] = known or _Inputs(len(layers[layer]))
        known.add(inputs)
        last[:] = [(inputs, known)]

    training = model.training
    decoder = model.get_base_model().base_model
    with ExitStack() as ending, torch.no_grad(), keeping_frozen(model), model.disable_adapter():
        model.eval()
        ending.callback(model.train, training)
        for layer in layers:
            ending.callback(layer.register_forward_pre_hook(watch).remove)
        for text in texts:
            decoder(input_ids=torch.tensor([list(text)], device=model.device), use_cache=False)
        for inputs in set(by_layer.values()):
            inputs.fit()
    started = {
        layer: inputs.components for layer, inputs in by_layer.items() if inputs.components is not None
    }
    if not started:
        raise ValueError(
            f"init: eva needs as many tokens as the rank, and the first {len(texts)} examples have "
            f"{sum(map(len, texts))}; use init: default"
        )
    for layer, components in started.items():
        layers[layer].data.copy_(components[: len(layers[layer])])


def _adapted(model: nn.Module) -> Iterator[tuple[nn.Module, nn.Parameter]]:
    """The linear layers of the base with their adapters' A: (rank, inputs)."""
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if not isinstance(module, LoraLayer) or hasattr(module, "parameter_name"):
            continue
        layer: Any = module
        for name in layer.active_adapters:
            if name in layer.lora_A and layer.lora_A[name].weight.dim() == 2:
                yield layer.get_base_layer(), layer.lora_A[name].weight
