"""TRL's trainers with a reference policy (DPO, KTO), over rows that are tokens already; each override says why.

Checked with TRL 1.16.0 and transformers 5.24.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from trl import DPOTrainer, KTOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from trainables.methods.peft_options import TRAINED_ALONE
from trainables.tokenization.encode import IGNORED, Encoded

DEFAULT_ADAPTER = "default"


class ReferenceTrainer:
    """What :class:`TokenizedDPOTrainer` and :class:`TokenizedKTOTrainer` change; stands before TRL's class."""

    reference_columns: ClassVar[tuple[str, str]]  # TRL's names of the reference's log-probabilities
    mask_columns: ClassVar[tuple[str, ...]]  # ours, one for each column of an answer's tokens
    accelerator: Any
    data_collator: Any
    model: Any
    _signature_columns: Any
    compute_ref_log_probs: Any

    def __init__(self, *args: Any, model: Any, **options: Any) -> None:
        with _without_second_adapter(model):
            super().__init__(*args, model=model, **options)  # type: ignore[call-arg]

    def _set_signature_columns_if_needed(self) -> None:
        """Keeps our columns, too; TRL would remove them before a batch is collated."""
        super()._set_signature_columns_if_needed()  # type: ignore[misc]
        self._signature_columns = list(dict.fromkeys((*self._signature_columns, *self.mask_columns)))

    def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
        """Unchanged: rows are tokens that are cut to length; TRL would tokenize them."""
        return dataset

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


@contextmanager
def _without_second_adapter(model: Any) -> Iterator[None]:
    """Has TRL take the base for the reference where PEFT allows no copy of the adapter beside it: with AdaLoRA, whose
    untrained adapter adds nothing.
    """
    config = getattr(model, "peft_config", {}).get(DEFAULT_ADAPTER)
    if config is None or config.peft_type.value.lower() not in TRAINED_ALONE:
        yield
        return
    parameter = model.get_parameter
    model.add_adapter = lambda name, config: None
    # TRL copies each weight of the adapter: here, onto itself.
    model.get_parameter = lambda name: parameter(name.replace(".ref.", f".{DEFAULT_ADAPTER}."))
    try:
        yield
    finally:
        del model.add_adapter, model.get_parameter


class TokenizedDPOTrainer(ReferenceTrainer, DPOTrainer):
    reference_columns = ("ref_chosen_logps", "ref_rejected_logps")
    mask_columns = ("chosen_mask", "rejected_mask")


class TokenizedKTOTrainer(ReferenceTrainer, KTOTrainer):
    reference_columns = ("ref_logps", "ref_KL_logps")
    mask_columns = ("completion_mask", "KL_mask")


class PairCollator(DataCollatorForPreference):
    """TRL's, whose ``completion_mask`` has all tokens after the prompt; of answers of several turns, only answers."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch, chosen answers first: ``completion_mask`` (2 x pairs, longest), and TRL's other tensors."""
        batch: dict[str, Any] = super().torch_call(examples)
        masks = [example[f"{side}_mask"] for side in ("chosen", "rejected") for example in examples]
        _restrict(batch["completion_mask"], masks, [len(example["prompt_ids"]) for example in examples] * 2)
        return batch


class LabelledCollator(DataCollatorForUnpairedPreference):
    """The same for KTO's single answers, and for those of other rows that estimate its KL term."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch: ``completion_mask`` and ``KL_completion_mask`` (rows, longest), and TRL's other tensors."""
        batch: dict[str, Any] = super().torch_call(examples)
        prompts = [len(example["prompt_ids"]) for example in examples]
        for name, column in (("completion_mask", "completion_mask"), ("KL_completion_mask", "KL_mask")):
            _restrict(batch[name], [example[column] for example in examples], prompts)
        return batch


def _restrict(mask: Tensor, kept: list[list[int]], prompts: list[int]) -> None:
    """Sets the mask (rows, longest) to 0 where an answer's own mask, which begins after the prompt, is 0."""
    for row, answer, prompt in zip(mask, kept, prompts, strict=True):
        length = min(len(answer), len(row) - prompt)
        row[prompt : prompt + length] *= torch.tensor(answer[:length], dtype=row.dtype)


def pair_columns(chosen: Encoded, rejected: Encoded) -> dict[str, list[int]]:
    """TRL's columns of a pair for DPO: ``prompt_ids``, ``chosen_ids``, ``rejected_ids``; and the masks of both answers.

    TRL has one prompt for both answers. Where the cutoff left less of the prompt to one answer, both get that.
    """
    starts = _answer_start(chosen), _answer_start(rejected)
    prompts = chosen.input_ids[: starts[0]], rejected.input_ids[: starts[1]]
    shared = min(prompts, key=len)
    if not all(prompt[: len(shared)] == shared for prompt in prompts):
        # The first turns differ and are not learned: each answer has its own before it.
        starts, shared = (0, 0), []
    columns: dict[str, list[int]] = {"prompt_ids": shared}
    for side, example, start in zip(("chosen", "rejected"), (chosen, rejected), starts, strict=True):
        columns[f"{side}_ids"] = example.input_ids[start:]
        columns[f"{side}_mask"] = answer_mask(example, start)
    return columns


def _answer_start(example: Encoded) -> int:
    """The first token with a label: an answer of several turns begins before the last of them."""
    return next(place for place, label in enumerate(example.labels) if label != IGNORED)


def answer_columns(example: Encoded, neighbour: Encoded, label: bool) -> dict[str, Any]:
    """TRL's columns of a labelled answer for KTO, with the neighbour's answer for the KL term; and both masks."""
    start, other = _answer_start(example), _answer_start(neighbour)
    return {
        "prompt_ids": example.input_ids[:start],
        "completion_ids": example.input_ids[start:],
        "completion_mask": answer_mask(example, start),
        "KL_completion_ids": neighbour.input_ids[other:],
        "KL_mask": answer_mask(neighbour, other),
        "label": label,
    }


def answer_mask(example: Encoded, start: int) -> list[int]:
    """1 for each token from ``start`` on that has a label, else 0."""
    return [int(label != IGNORED) for label in example.labels[start:]]
