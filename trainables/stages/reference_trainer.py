"""TRL's trainers with a reference policy (DPO, KTO), over rows that are tokens already; each override says why.

Checked with trl 1.12.0 and transformers 5.23.0.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch.utils.data import DataLoader
from trl import DPOTrainer, KTOTrainer

from trainables.tokenization.encode import Encoded


class ReferenceTrainer:
    """What :class:`TokenizedDPOTrainer` and :class:`TokenizedKTOTrainer` change; stands before TRL's class."""

    reference_columns: ClassVar[tuple[str, str]]  # TRL's names of the reference's log-probabilities
    accelerator: Any
    data_collator: Any
    model: Any

    def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
        """Unchanged: rows are tokens that are cut to length; TRL would tokenize them."""
        return dataset

    def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
        """Under autocast, as in training, so that policy and reference cancel exactly at the first step."""
        with self.accelerator.autocast():
            return super().compute_ref_log_probs(model, inputs)  # type: ignore[misc]

    def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
        """Reference log-probabilities as columns, (rows,) each; every worker computes its share of the rows.

        TRL passes them on in a cache file, which other workers don't find: the folder is each process's own.
        """
        loader = DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator)
        gather = self.accelerator.gather_for_metrics
        # gather_for_metrics joins the workers' batches in the data set's order, and drops the rows that were
        # repeated to fill the last one up; so the columns are as long as the data set.
        batches = [
            gather(self.compute_ref_log_probs(self.model, batch))
            for batch in self.accelerator.prepare(loader)
        ]
        for column, values in zip(self.reference_columns, zip(*batches, strict=True), strict=True):
            dataset = dataset.add_column(column, torch.cat(values).float().cpu().numpy())
        return dataset


class TokenizedDPOTrainer(ReferenceTrainer, DPOTrainer):
    reference_columns = ("ref_chosen_logps", "ref_rejected_logps")


class TokenizedKTOTrainer(ReferenceTrainer, KTOTrainer):
    reference_columns = ("ref_logps", "ref_KL_logps")


def pair_columns(chosen: Encoded, rejected: Encoded) -> dict[str, list[int]]:
    """TRL's columns of a pair for DPO: ``prompt_ids``, ``chosen_ids``, ``rejected_ids``.

    TRL has one prompt for both answers. Where the cutoff left less of the prompt to one answer, both get that.
    """
    prompt = min(chosen.prompt, rejected.prompt, key=len)
    return {"prompt_ids": prompt, "chosen_ids": chosen.answer, "rejected_ids": rejected.answer}
