"""What every training stage answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import Field

from trainables.config.base import Frozen

if TYPE_CHECKING:
    import transformers

    from trainables.config.data import DataConfig
    from trainables.config.model import ModelConfig
    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.methods.base import FineTuning
    from trainables.stages.forward_pass import Batch
    from trainables.tokenization.encode import Encoded
    from trainables.tokenization.token_table import Tokens
    from trainables.training.policy import Policy

Task = Literal["CAUSAL_LM", "SEQ_CLS"]  # PEFT's names: a model that predicts tokens, or one number for a text


class TrialParts(Protocol):
    """The parts of a trial that a stage may judge while planning; ``trial.config.TrialConfig`` has them."""

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
    """What a stage's quality is: ``unit`` is "fraction" for a share of rows, else what the number is in."""

    name: str
    higher_is_better: bool
    unit: str


@dataclass(frozen=True)
class Prediction:
    """One held-out row, scored. ``prompt`` is JSON messages; ``prediction`` is ``None`` without one.

    ``weight``: how much it counts in a quality that is no plain mean of scores, in tokens or bytes. What a good and a
    bad answer are worth to the model, where a row has such: in nats per token, or in rewards.
    """

    row: int
    prompt: str
    reference: str
    prediction: str | None
    score: float
    weight: float | None = None
    good_worth: float | None = None
    bad_worth: float | None = None


@dataclass(frozen=True)
class Scores:
    """Every row's score, and what they sum up to; ``metrics`` holds the stage's quality by its name."""

    rows: tuple[Prediction, ...]
    metrics: dict[str, float] = field(default_factory=dict)

    def columns(self) -> dict[str, list[Any]]:
        """The rows by column; weights and what answers are worth only where rows have such."""
        columns = [(each, [getattr(row, each.name) for row in self.rows]) for each in fields(Prediction)]
        return {
            each.name: values
            for each, values in columns
            if each.default is MISSING or any(value is not None for value in values)
        }


class TrainingStage(Frozen):
    """A stage's config, which is its behaviour. What raises ``TypeError`` here, every stage says for itself."""

    kind: str
    name: str | None = None
    eval_batch: int = Field(default=16, ge=1)  # rows scored at a time; the same for every method

    needs: ClassVar[type]  # the row type, from `trainables.data.rows`
    task: ClassVar[Task] = "CAUSAL_LM"  # the kind of model that is trained
    encoding: ClassVar[tuple[str, ...]] = ()  # its settings that decide which tokens a row becomes
    sequences: ClassVar[int] = 1  # examples that are one row of a batch: two where answers are compared
    least_batch: ClassVar[int] = 1  # rows a worker needs in a batch
    packs: ClassVar[bool] = False  # whether several examples may share a batch's row
    learning_rate_share: ClassVar[float] = (
        1.0  # of what a method takes to imitate answers, where a search begins
    )
    logs: ClassVar[tuple[str, ...]] = ()  # what its trainer logs besides loss and gradient norm

    def problems(self, trial: TrialParts, data: Data | None) -> Iterator[tuple[str, str]]:
        """(leaf of the stage, what is wrong) for what the rest of a trial makes impossible; asked while planning.

        ``data`` is ``None`` where it isn't known yet.
        """
        yield from ()

    def unshared(self, trial: TrialParts) -> str | None:
        """Why workers can't share a trial's weights; ``None`` where they can."""
        return None

    def worst_case(self) -> TrainingStage:
        """The stage at its most memory, which is what is measured, where that isn't decided by the rows alone."""
        return self

    def rehearsal(self) -> TrainingStage:
        """The stage as it can run on a model of one layer, before memory is measured."""
        return self

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """A row as it is trained on, with labels where the loss is: as many examples as the stage makes of it."""
        raise self._silent("how rows are encoded")

    def encode_scored(
        self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int
    ) -> list[Encoded]:
        """A row as it is scored, with labels on what the score is of."""
        return self.encode(tokenizer, row, cutoff)

    def tokens(
        self,
        tokenizer: transformers.PreTrainedTokenizerBase,
        rows: Sequence[Any],
        cutoff: int,
        scoring: bool = False,
    ) -> Tokens:
        """The rows as they are trained on or, if ``scoring``, scored; those on disk are encoded only once."""
        from trainables.tokenization.token_table import tokenized

        return tokenized(self, tokenizer, rows, cutoff, scoring)

    def steps(
        self,
        tokenizer: transformers.PreTrainedTokenizerBase,
        rows: Sequence[Any],
        train: TrainConfig,
        cutoff: int,
    ) -> int:
        """The optimizer steps of ``train``; an epoch is all that the stage makes of the rows."""
        if train.steps is not None:
            return train.steps
        return train.total_steps(len(self.tokens(tokenizer, rows, cutoff)) // self.sequences)

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> transformers.Trainer:
        """A trainer over ``rows``. ``arguments``: the training arguments all stages share."""
        raise self._silent("how it trains")

    def quality(self, data: Data) -> Metric:
        """What is measured on the test rows, the same for every method."""
        raise self._silent("what its quality is")

    def objective_name(self) -> str:
        """What ``objective`` is, in words."""
        raise self._silent("what its objective is")

    def objective(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        """``{"objective": ...}``, higher is better, on validation rows; other measures go beside it."""
        raise self._silent("what its objective is")

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        """Every row scored, for the quality and all else that is worth knowing."""
        raise self._silent("how rows are scored")

    def forward_pass(self, rows: int, tokens: int) -> Batch | None:
        """What goes through the model at a time where a batch is ``rows`` rows of ``tokens`` tokens, as
        ``trainables.memory.prediction`` takes it; ``None`` where the stage's memory isn't foretold.
        """
        return None

    def longest(
        self, tokenizer: transformers.PreTrainedTokenizerBase, rows: Sequence[Any], cutoff: int
    ) -> tuple[Any, int]:
        """The row that takes the most memory, and its tokens."""
        tokens = self.tokens(tokenizer, rows, cutoff)
        place = int(tokens.lengths.argmax())
        return rows[int(tokens.rows[place])], int(tokens.lengths[place])

    def _silent(self, what: str) -> TypeError:
        return TypeError(f"{type(self).__name__} does not say {what}")
