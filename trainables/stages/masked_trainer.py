"""transformers' trainer with the loss of masked tokens, over rows that are tokens already and are masked when drawn.

Checked with transformers 5.24.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Trainer

from trainables.models.architecture.masked_positions import only_at
from trainables.stages.step_loss import share_of_step
from trainables.tokenization.encode import IGNORED
from trainables.tokenization.masking import Masking, draws_before
from trainables.tokenization.padding import labelled_places, padded, padded_inputs

if TYPE_CHECKING:
    from trainables.tokenization.token_table import Tokens


class MaskedTrainer(Trainer):
    """Cross-entropy of the masked tokens: a plain mean over those of a step, however it is divided into batches."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # What `compute_loss` returns is divided by the masked tokens of the step already, not of the batch.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = False

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The sum of the batch's losses by ``num_items_in_batch``, the masked tokens of the step; else their mean."""
        places = inputs["places"]
        with only_at(self._transformers_model(model), places):
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        targets = inputs["labels"].flatten()[places]  # (masked,)
        summed = functional.cross_entropy(outputs.logits[0].float(), targets, reduction="sum")
        loss = share_of_step(self, summed, len(places), num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _transformers_model(self, model: Any) -> Any:
        inner: Any = self.accelerator.unwrap_model(model, keep_torch_compile=False)
        return inner.get_base_model() if hasattr(inner, "peft_config") else inner


class MaskedRows(Dataset[dict[str, Any]]):
    """The examples in the order in which they are drawn, ``order`` (draws,), each masked anew."""

    def __init__(self, tokens: Tokens, order: np.ndarray, masking: Masking, seed: int) -> None:
        self.tokens, self.order, self.masking, self.seed = tokens, order, masking, seed
        self.draws = draws_before(order)

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> dict[str, Any]:
        number = int(self.order[place])
        example = self.masking.trained(self.tokens[number], self.seed, number, int(self.draws[place]))
        return {"input_ids": example.input_ids, "labels": example.labels}


@dataclass(frozen=True)
class MaskedCollator:
    """Batches of rows with ``input_ids`` and ``labels``, padded on the right, and the ``places`` (masked,) of labels.

    The places are found here: on a GPU, which would be waited for, their number isn't known before they are counted.
    """

    pad: int

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        inputs = padded_inputs([row["input_ids"] for row in rows], self.pad)
        labels = padded([row["labels"] for row in rows], IGNORED)
        return {**inputs, "labels": labels, "places": labelled_places(labels)}
