"""Classification: which of several labels a text or a conversation has, by a new head on its last token."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import field_validator

from trainables.data.label_counts import count_labels, have_several
from trainables.data.rows import Classified, Conversation
from trainables.stages.base import Gives, Metric, ScoredRow, Scores, TrainingStage, TrialParts
from trainables.stages.forward_pass import Batch, RowLength
from trainables.stages.label_problems import (
    labels_of_setting,
    labels_to_learn,
    lists_problem,
    training_problems,
    unknown_labels,
    weight_problem,
    weights_of_setting,
)
from trainables.templates import NO_TEMPLATE, TemplateError
from trainables.tokenization import batching
from trainables.tokenization.encode import IGNORED, Encoded, encode, encode_prompt
from trainables.tokenization.encoder_input import encode_messages, reads_texts

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.models.architecture.model_classes import ModelKind
    from trainables.scoring.class_probabilities import ClassProbabilities
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer

DEFAULT_OUTPUTS = 2  # before the labels are known
PART_NAMES = ("training", "validation", "test")


class Classification(TrainingStage):
    """Cross-entropy of the right label; where rows have lists of labels, binary cross-entropy of each label.

    The head reads the last token of the prompt as the chat template renders it, where a language model would begin its
    answer; of a conversation that ends with an answer, the end of that answer. An encoder's head reads what its class
    reads, mostly the first token, of the texts of the messages without their roles. ``labels``: the labels in the order
    of the head's outputs; planning takes those of the training rows, in alphabetical order, where they are left out.
    ``multi_label``: whether several may apply, each on its own; planning says it. ``class_weights`` multiply the loss
    of a row by its label's: ``balanced`` has rows / (labels x rows of the label) (G. King and L. Zeng, "Logistic
    regression in rare events data", 2001, as scikit-learn names it), or a weight for each label.

    Quality is ``macro_f1``, the mean of the labels' F1. Beside it ``accuracy`` is the share of rows with the right
    label, or with exactly the right ones; it is the quality where no test row has a label.
    """

    kind: Literal["classification"] = "classification"
    labels: tuple[str, ...] | None = None
    multi_label: bool | None = None
    class_weights: Literal["balanced"] | dict[str, float] | None = None

    row_type: ClassVar[type] = Classified
    gives: ClassVar[Gives] = "labels"
    nothing_left: ClassVar[str] = "their texts are empty"

    @field_validator("labels", mode="before")
    @classmethod
    def _as_texts(cls, value: Any) -> Any:
        # A tuple, as strict validation takes no list from here.
        return labels_of_setting(value) if isinstance(value, list | tuple) else value

    @field_validator("class_weights", mode="before")
    @classmethod
    def _by_text(cls, value: Any) -> Any:
        return weights_of_setting(value) if isinstance(value, dict) else value

    @field_validator("labels")
    @classmethod
    def _are_different(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(value) < 2:
            raise ValueError(
                "a classifier tells two labels or more apart; give all of them, or leave labels out"
            )
        if value is not None and len(set(value)) < len(value):
            raise ValueError(f"{', '.join(value)}: a label is given twice; give each once")
        return value

    @field_validator("class_weights")
    @classmethod
    def _are_positive(cls, value: Any) -> Any:
        if isinstance(value, dict) and any(not weight > 0 for weight in value.values()):
            raise ValueError("the weight of a label must be above 0")
        return value

    def filled_by(self, data: Data) -> dict[str, Any]:
        filled: dict[str, Any] = {}
        if self.labels is None and (labels := labels_to_learn(data.train)) is not None:
            filled["labels"] = labels
        if self.multi_label is None:
            filled["multi_label"] = have_several(data.train)
        return filled

    @property
    def head_settings(self) -> dict[str, Any]:
        if self.labels is None:
            return {"num_labels": DEFAULT_OUTPUTS}
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: number for number, label in enumerate(self.labels)},
            "problem_type": f"{'multi' if self.multi_label else 'single'}_label_classification",
        }

    def problems(self, trial: TrialParts, data: Data | None) -> Iterator[tuple[str, str]]:
        if data is None:
            return
        yield from training_problems(data.train, self.labels, self.multi_label)
        for name, rows in zip(PART_NAMES, (data.train, data.validation, data.test), strict=True):
            if what := unknown_labels(rows, self.labels):
                yield "labels", f"{name} rows have {what}"
            if rows is not data.train and (what := lists_problem(rows, self.multi_label)):
                yield "multi_label", f"{name} rows have {what}"
        if what := weight_problem(self.class_weights, self.labels, self.multi_label):
            yield "class_weights", what

    def set_problem(self, rows: Sequence[Any]) -> str | None:
        what = unknown_labels(rows, self.labels) or lists_problem(rows, self.multi_label)
        return None if what is None else f"rows have {what}"

    def forward_pass(self, rows: int, length: RowLength) -> Batch:
        return Batch(rows, length.tokens, labels=0, outputs=self.head_settings["num_labels"])

    @property
    def model_kinds(self) -> tuple[ModelKind, ...]:
        return ("decoder", "encoder")

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """The row's messages, at most ``cutoff`` tokens, with a label on the token that the head reads."""
        if reads_texts(tokenizer):
            return encode_messages(tokenizer, row.prompt, row.tools, cutoff)
        if tokenizer.chat_template is None:
            raise TemplateError(NO_TEMPLATE)
        *before, last = row.prompt
        if last["role"] == "assistant":
            calls = tuple(last.get("tool_calls", ()))
            example = encode(
                Conversation(tuple(before), last["content"], calls, row.tools), tokenizer, cutoff
            )
            ids, truncated, remarks = example.input_ids, example.truncated, example.remarks
        else:
            tools = json.loads(row.tools) if row.tools else None
            ids, remarks = encode_prompt(tokenizer, row.prompt, tools)
            truncated = len(ids) > cutoff
            if truncated:
                # As the prompt of an answer is shortened: the template's own tokens stay around what is left.
                example = encode(Conversation(row.prompt, "x", tools=row.tools), tokenizer, cutoff)
                ids, remarks = example.prompt, example.remarks
        labels = [IGNORED] * (len(ids) - 1) + ids[-1:]
        return [Encoded(ids, labels, len(ids), truncated, remarks)] if ids else []

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        from transformers import TrainingArguments

        from trainables.stages.class_trainer import ClassCollator, ClassTrainer
        from trainables.training.trainer_setup import make_trainer, rows_on_disk

        # The trainer gets the columns of a row as they are.
        settings = TrainingArguments(**arguments, remove_unused_columns=False)
        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        count = train.rows_seen(settings.max_steps, len(tokens), settings.world_size)
        order = batching.example_order(tokens.lengths, count, **train.batching())
        reached, places = np.unique(order, return_inverse=True)
        number = {label: place for place, label in enumerate(self.labels or ())}
        dataset = rows_on_disk(
            {
                "input_ids": tokens[int(place)].input_ids,
                "classes": [number[label] for label in rows[int(tokens.rows[place])].labels],
            }
            for place in reached
        )
        several = len(number) if self.multi_label else None
        collator = ClassCollator(policy.tokenizer.pad_token_id, several)
        return make_trainer(
            ClassTrainer,
            policy,
            settings,
            dataset,
            places,
            tokens.lengths[order],
            data_collator=collator,
            class_weights=self._weights(rows),
        )

    def _weights(self, rows: Sequence[Any]) -> list[float] | None:
        """The weight of each label, in their order; ``None`` where all rows count alike."""
        if self.class_weights is None or self.labels is None:
            return None
        if isinstance(self.class_weights, dict):
            return [self.class_weights[label] for label in self.labels]
        counts = count_labels(rows)
        return [len(rows) / (len(self.labels) * max(counts[label], 1)) for label in self.labels]

    def quality(self, data: Data) -> Metric:
        if len(data.test) and not any(row.labels for row in data.test):
            return Metric("accuracy", higher_is_better=True, unit="fraction")
        shares = tuple(sorted(count / len(data.test) for count in count_labels(data.test).values()))
        return Metric("macro_f1", higher_is_better=True, unit="", label_shares=shares)  # no share of rows

    def objective_name(self) -> str:
        return "log-likelihood of the right labels"  # in nats per row

    def validation_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        measures = self.probabilities(policy, rows, cutoff).measures([row.labels for row in rows])
        names = [name for name in ("accuracy", "macro_f1") if name in measures]
        validation = {f"validation_{name}": measures[name] for name in names}
        return {"objective": -measures["loss"], **validation}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        """Per row 1 where exactly its labels were given, else 0; the labels that were given are its prediction."""
        probabilities, right = self.probabilities(policy, rows, cutoff), [row.labels for row in rows]

        def text(row: Classified, labels: tuple[str, ...]) -> str:
            # In the form of the stage: rows of one label, too, are given any number by a head of several.
            return replace(row, labels=labels, several=bool(self.multi_label)).label

        scored = zip(rows, probabilities.given, probabilities.is_right(right), strict=True)
        return Scores(
            tuple(
                ScoredRow(number, row.prompt_json(), text(row, row.labels), text(row, given), is_right)
                for number, (row, given, is_right) in enumerate(scored)
            ),
            probabilities.measures(right),
        )

    def probabilities(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> ClassProbabilities:
        """The probability of each label for each row. Raises ``ValueError`` where the labels are not known."""
        from trainables.scoring.class_probabilities import class_probabilities

        if self.labels is None:
            raise ValueError(
                "the labels of the classifier are not known; planning takes them from the training rows"
            )
        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        return class_probabilities(policy, tokens, self.eval_batch, self.labels, bool(self.multi_label))
