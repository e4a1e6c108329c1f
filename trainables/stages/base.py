"""What every training stage defines: its rows, its trainer, its quality and how it scores held-out rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import Field

from trainables.config.base import Frozen
from trainables.stages.forward_pass import RowLength

if TYPE_CHECKING:
    import transformers

    from trainables.config.data import DataConfig
    from trainables.config.model import ModelConfig
    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.methods.base import FineTuning
    from trainables.models.architecture.model_classes import ModelKind
    from trainables.stages.forward_pass import Batch
    from trainables.tokenization.deferred_tokenizer import AnyTokenizer
    from trainables.tokenization.encode import Encoded
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer

# What a model does: it predicts the next token, or masked ones, or gives numbers for a text. Most are PEFT's names.
Task = Literal["CAUSAL_LM", "MASKED_LM", "SEQ_CLS"]
Gives = Literal["text", "rewards", "labels"]  # what a stage's model gives


class TrialParts(Protocol):
    """The parts of a trial that a stage may check while planning; ``trial.config.TrialConfig`` has them."""

    @property
    def model(self) -> ModelConfig: ...
    @property
    def data(self) -> DataConfig: ...
    @property
    def method(self) -> FineTuning | None: ...
    @property
    def train(self) -> TrainConfig: ...


@dataclass(frozen=True)
class Metric:
    """A stage's quality. ``unit`` is "fraction" for a share of rows, else the unit of the number. ``label_shares``: of
    a mean over labels, the share of the test rows that have each.
    """

    name: str
    higher_is_better: bool
    unit: str
    label_shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class ScoredRow:
    """One held-out row with its score: a row of ``predictions.parquet``, whose columns have the names of these fields.

    ``prompt`` is JSON messages. ``prediction`` is the generated answer, ``None`` where none was generated. ``weight``
    is the row's size in tokens or bytes, where the quality is not a plain mean of scores. ``good_worth`` and
    ``bad_worth`` are the scores of a good and of a bad answer: log-likelihoods in nats per token, or rewards.
    ``exact_match``: 1 where the answer is the reference, else 0, and ``pair_accuracy``: 1 where the answers to the
    prompt are in the right order, 0.5 for a tie, else 0, where ``score`` is another measure. ``group``: the hash of
    what the split keeps rows together by; rows of one group are not independent.
    """

    row: int
    prompt: str
    reference: str
    prediction: str | None
    score: float
    weight: float | None = None
    good_worth: float | None = None
    bad_worth: float | None = None
    exact_match: float | None = None
    pair_accuracy: float | None = None
    group: str | None = None


@dataclass(frozen=True)
class Scores:
    """Every row's score, and the metrics over all rows, the stage's quality among them, by name."""

    rows: tuple[ScoredRow, ...]
    metrics: dict[str, float] = field(default_factory=dict)

    def in_groups(self, names: Sequence[str] | None) -> Scores:
        """The scores with the group of each row, by its number; unchanged where groups are not known."""
        if names is None:
            return self
        return replace(self, rows=tuple(replace(row, group=names[row.row]) for row in self.rows))

    def columns(self) -> dict[str, list[Any]]:
        """The rows by column; a column that is optional and ``None`` in every row is left out."""
        columns = [(each, [getattr(row, each.name) for row in self.rows]) for each in fields(ScoredRow)]
        return {
            each.name: values
            for each, values in columns
            if each.default is MISSING or any(value is not None for value in values)
        }


def same_names(*names: str) -> dict[str, str]:
    """Metrics that a trainer calls as the curve does."""
    return {name: name for name in names}


class TrainingStage(Frozen, ABC):
    """A stage's config, which is its behaviour. A subclass without all abstract methods can't be instantiated."""

    kind: str
    name: str | None = None
    eval_batch: int = Field(default=16, ge=1)  # rows scored at a time; the same for every method

    row_type: ClassVar[type]  # from `trainables.data.rows`
    gives: ClassVar[Gives] = "text"
    encoding: ClassVar[tuple[str, ...]] = ()  # names of the settings that decide which tokens a row becomes
    examples_per_row: ClassVar[int] = 1  # 2 where answers are compared
    min_worker_rows: ClassVar[int] = 1  # rows that one worker needs in a batch
    can_pack: ClassVar[bool] = False  # whether several examples may share a row of the batch
    can_stream: ClassVar[bool] = False  # whether rows may be cut from one stream of tokens
    # Where a search of the learning rate begins, as a multiple of what suits the method in supervised fine-tuning.
    learning_rate_factor: ClassVar[float] = 1.0
    nothing_left: ClassVar[str] = "nothing but an end token is left to learn"  # of rows without an example
    # Why its decoder layers are not compiled; None where they can be.
    compile_obstacle: ClassVar[str | None] = None
    loss_falls: ClassVar[bool] = True  # whether the training loss falls in a trial that learns
    # What a curve has besides loss and gradient norm, and what its trainer calls it.
    logged_metrics: ClassVar[Mapping[str, str]] = {}
    # Settings of its own that may be halved, down to a least value, to take less memory; the first alters least.
    halved_for_memory: ClassVar[Mapping[str, int]] = {}

    @property
    def sampled_tokens(self) -> int:
        """How many tokens are sampled behind a row, at most."""
        return 0

    @property
    def rows_are_independent(self) -> bool:
        """Whether the loss of a step is the same however its rows are divided into batches."""
        return True

    @property
    def task(self) -> Task:
        """What the model does that is trained."""
        return "CAUSAL_LM" if self.gives == "text" else "SEQ_CLS"

    @property
    def model_kinds(self) -> tuple[ModelKind, ...]:
        """Which kinds of models it trains."""
        return ("decoder",)

    @property
    def purpose(self) -> str:
        """What its model is looked up for: its task, which reward models and classifiers share, so that the latter have
        one of their own.
        """
        return self.gives if self.gives == "labels" else self.task

    @property
    def loss_share(self) -> float:
        """The share of an example's labelled tokens that bear a loss when it is drawn."""
        return 1.0

    def drawn(
        self, tokenizer: transformers.PreTrainedTokenizerBase, example: Encoded, number: int, seed: int
    ) -> Encoded:
        """The example as training sees it when it is drawn first; ``number``: its place in the data."""
        return example

    @property
    def head_settings(self) -> dict[str, Any]:
        """Settings of the transformers config for a head that replaces the one that predicts tokens; none without."""
        return {}

    def filled_by(self, data: Data) -> dict[str, Any]:
        """Settings that planning takes from the rows, by name, where the spec leaves them open."""
        return {}

    def problems(self, trial: TrialParts, data: Data | None) -> Iterator[tuple[str, str]]:
        """(leaf of the stage, message) for each conflict with the rest of a trial; called while planning.

        ``data`` is ``None`` while the rows haven't been loaded yet.
        """
        yield from ()

    def without_effect(self) -> Iterator[tuple[str, str]]:
        """(setting, why) for every setting that does nothing, whatever its value, because of the others."""
        yield from ()

    def sharding_obstacle(self, trial: TrialParts) -> str | None:
        """Why several workers can't shard this trial's weights; ``None`` where they can."""
        return None

    def worst_case(self) -> TrainingStage:
        """The stage with the settings that take the most memory, which is what is measured."""
        return self

    def rehearsal(self) -> TrainingStage:
        """The stage with settings that also work on a model of one layer, which is run before memory is measured."""
        return self

    @abstractmethod
    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """A row's training examples of at most ``cutoff`` tokens, with labels where the loss is."""

    def encode_scored(
        self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int
    ) -> list[Encoded]:
        """A held-out row's examples, with labels on the tokens that are scored."""
        return self.encode(tokenizer, row, cutoff)

    def tokens(
        self,
        tokenizer: AnyTokenizer,
        rows: Sequence[Any],
        cutoff: int,
        scoring: bool = False,
    ) -> Tokens:
        """The examples of all rows, to train on or, with ``scoring``, to score; rows on disk are encoded only once."""
        from trainables.tokenization.token_table import tokenize_rows

        return tokenize_rows(self, tokenizer, rows, cutoff, scoring)

    def steps(
        self,
        tokenizer: AnyTokenizer,
        rows: Sequence[Any],
        train: TrainConfig,
        cutoff: int,
    ) -> int:
        """The number of optimizer steps; an epoch is all examples of the rows."""
        if train.steps is not None:
            return train.steps
        return train.total_steps(len(self.tokens(tokenizer, rows, cutoff)) // self.examples_per_row)

    @abstractmethod
    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        """A trainer over ``rows``. ``arguments``: the training arguments that all stages share."""

    @abstractmethod
    def quality(self, data: Data) -> Metric:
        """What is measured on the test rows, the same for every method."""

    def check_scoring(self, data: Data) -> None:
        """Raises what keeps the test rows from being scored, as far as that is known before training."""

    def set_problem(self, rows: Sequence[Any]) -> str | None:
        """Why the ``rows`` of a further evaluation set can't be scored; ``None`` where they can."""
        return None

    @abstractmethod
    def objective_name(self) -> str:
        """What the objective of :meth:`validation_scores` measures, as reports name it."""

    @abstractmethod
    def validation_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        """``{"objective": ...}`` on the validation rows, higher is better; other measures may stand beside it."""

    @abstractmethod
    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        """Every row's score, the quality, and the stage's other metrics."""

    def scored_logprobs(self, policy: Policy, data: Data, cutoff: int) -> list[float] | None:
        """The log-probability of each answer that :meth:`score` scores of the test rows, in nats; ``None`` where no
        score compares it with what it was before training.
        """
        return None

    def forward_pass(self, rows: int, length: RowLength) -> Batch | None:
        """The forward pass over a batch of ``rows`` rows of this length, for ``trainables.memory.prediction``; ``None``
        where the stage's memory can't be predicted.
        """
        return None

    def labelled(self, rows: int, length: RowLength) -> int:
        """How many tokens of ``rows`` rows of this length bear a loss: all of them where it is not known."""
        all_tokens = self.examples_per_row * length.tokens
        return rows * (all_tokens if length.labels is None else min(length.labels, all_tokens))

    def longest_row(self, tokenizer: AnyTokenizer, rows: Sequence[Any], cutoff: int) -> tuple[Any, RowLength]:
        """The row that takes the most memory, and its length."""
        tokens = self.tokens(tokenizer, rows, cutoff)
        # The number of an example, of which a row may have several; `tokens.rows` has the row of each.
        longest = int(tokens.lengths.argmax())
        first = longest - longest % self.examples_per_row
        labels = sum(tokens.learned(first + number) for number in range(self.examples_per_row))
        return rows[int(tokens.rows[longest])], RowLength(int(tokens.lengths[longest]), labels)

    def largest_row(self, tokenizer: AnyTokenizer, rows: Sequence[Any], cutoff: int) -> RowLength:
        """The length that no row exceeds: the longest row's tokens, and the labels of the row that has the most."""
        longest = self.longest_row(tokenizer, rows, cutoff)[1]
        if longest.labels is None:  # the stage's labels are not those of its rows
            return longest
        labels = self.tokens(tokenizer, rows, cutoff).labels.reshape(-1, self.examples_per_row).sum(1)
        return replace(longest, labels=int(labels.max()))
