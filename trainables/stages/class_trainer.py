"""transformers' trainer with a classifier's loss, over rows that are tokens already.

Checked with transformers 5.24.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Trainer

from trainables.tokenization.padding import padded_inputs


class ClassTrainer(Trainer):
    """Cross-entropy of each row's class, or binary cross-entropy of every class where several may apply.

    ``class_weights`` (classes,) multiply the loss of a row by the weight of its class. The loss of a step is a plain
    mean over its rows, however these are divided into batches.
    """

    def __init__(self, *args: Any, class_weights: Sequence[float] | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        # On the device from the start: copied in each step, a GPU would be waited for.
        self.class_weights = (
            None if class_weights is None else torch.tensor(class_weights, device=self.args.device)
        )
        # What `compute_loss` returns is divided by the rows of the step already, not of the batch.
        self.model_accepts_loss_kwargs = True

    def get_batch_samples(self, *args: Any) -> tuple[list[dict[str, Any]], int]:
        """The batches of a step, and how many rows they have. Each worker has as many: their gradients are averaged."""
        batches, _ = super().get_batch_samples(*args)
        return batches, sum(len(batch["targets"]) for batch in batches)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The sum of the batch's losses by ``num_items_in_batch``, the rows of the step; without it, their mean."""
        targets = inputs["targets"]
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        loss = self._losses(outputs.logits.float(), targets).sum() / (num_items_in_batch or len(targets))
        return (loss, outputs) if return_outputs else loss

    def _losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of each row: (rows,). ``logits``: (rows, classes)."""
        if targets.is_floating_point():  # (rows, classes): 1 for each class that applies
            return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(1)
        losses = functional.cross_entropy(logits, targets, reduction="none")
        if self.class_weights is not None:
            losses = losses * self.class_weights[targets]
        return losses


@dataclass(frozen=True)
class ClassCollator:
    """Batches of rows with ``input_ids`` and the numbers of their ``classes``, padded on the right.

    ``several``: how many classes there are, of which several may apply to a row; ``None`` where each row has one.
    """

    pad: int
    several: int | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        inputs = padded_inputs([row["input_ids"] for row in rows], self.pad)
        return {**inputs, "targets": self._targets(rows)}

    def _targets(self, rows: Sequence[Mapping[str, Any]]) -> Tensor:
        if self.several is None:
            return torch.tensor([row["classes"][0] for row in rows])
        targets = torch.zeros((len(rows), self.several))
        for place, row in enumerate(rows):
            targets[place, row["classes"]] = 1.0
        return targets
