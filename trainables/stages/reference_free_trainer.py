"""TRL's trainers of pairs without a reference policy (CPO, ORPO), over rows that are tokens already.

Each override says why. Checked with TRL 1.16.0 and transformers 5.24.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasets import Dataset

from trainables.stages.preference import draw_pairs
from trainables.tokenization.encode import Encoded
from trainables.training.trainer_setup import make_trainer, rows_on_disk

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


class TokenizedPairs(Dataset):
    """A data set that TRL's constructors don't change.

    They tokenize rows by ``map``, and cut an answer to what its prompt and the longer answer leave of the length, which
    may be nothing.
    """

    def map(self, *args: Any, **options: Any) -> Any:
        return self


def reference_free_trainer(
    cls: Any, policy: Policy, settings: Any, tokens: Tokens, train: TrainConfig
) -> StageTrainer:
    """A trainer of TRL's class ``cls`` over pairs; ``tokens`` has the chosen and the rejected answers by turns."""
    rows, places, lengths = draw_pairs(tokens, train, settings, answer_columns)
    return make_trainer(cls, policy, settings, rows_on_disk(rows, TokenizedPairs), places, lengths)


def answer_columns(chosen: Encoded, rejected: Encoded) -> dict[str, list[int]]:
    """TRL's columns of both answers with their prompts: input_ids, attention_mask, labels."""
    columns: dict[str, list[int]] = {}
    for side, example in (("chosen", chosen), ("rejected", rejected)):
        columns[f"{side}_input_ids"] = example.input_ids
        columns[f"{side}_attention_mask"] = [1] * len(example.input_ids)
        columns[f"{side}_labels"] = example.labels
    return columns
