"""What the stages share that learn from rewards of sampled answers: prompts, rewards, and the quality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from trainables.config import limits
from trainables.config.trained_model import TrainedModel
from trainables.data.rows import Prompt
from trainables.stages.base import Metric, ScoredRow, Scores, TrainingStage, TrialParts
from trainables.stages.forward_pass import RewardModelFootprint, RowLength
from trainables.stages.rewards.answers import answers_kl, decoded, greedy_answers, model_rewards
from trainables.stages.rewards.rules import RULES, reward_model_problem
from trainables.stages.rewards.terms import FunctionReward, Reward, RewardTerm, RuleReward
from trainables.tokenization.encode import IGNORED, Encoded

if TYPE_CHECKING:
    import transformers

    from trainables.data.loading import Data
    from trainables.tokenization.deferred_tokenizer import AnyTokenizer
    from trainables.training.policy import Policy

# Rows of each part whose references are checked while planning; those of other rows are when they are rewarded.
CHECKED_ROWS = 1000
LEAST_NEW_TOKENS = 8  # of answers that are made shorter to fit in memory
MODEL_LABEL = "model"  # of a reward model among several rewards
_CHOICES = (
    f"give a rule's name ({', '.join(RULES)}), the folder of a finished reward trial, or {{from: reward}}"
)


class RewardedStage(TrainingStage):
    """Samples answers and learns from their rewards.

    The reward of an answer is ``reward_weight`` times that of ``reward``, a rule or a reward model, and the weighted
    rewards of ``rewards``. Quality is the mean reward of greedy answers.
    """

    # Before `reward`, whose validator looks whether there are any.
    rewards: tuple[Reward, ...] = ()
    # A rule's name, or the model of a reward trial.
    # None where `rewards` has all, or in a rehearsal, which copies the settings unvalidated.
    reward: str | TrainedModel | None = Field(default=None, validate_default=True)
    reward_weight: float = Field(default=1.0, allow_inf_nan=False)  # of `reward`, beside `rewards`
    # Per answer; a prompt keeps the end that leaves room for them in the cutoff.
    max_new_tokens: Annotated[int, limits.at_most(limits.TOKENS)] = Field(default=32, ge=1)
    min_new_tokens: int = Field(default=0, ge=0)  # no answer ends before
    temperature: float = Field(default=1.0, gt=0)  # of sampling, and of the policy that is trained

    row_type: ClassVar[type] = Prompt
    learning_rate_factor: ClassVar[float] = 0.1
    encoding: ClassVar[tuple[str, ...]] = ("max_new_tokens",)
    loss_falls: ClassVar[bool] = False  # it is that of answers which change
    halved_for_memory: ClassVar[Mapping[str, int]] = {"max_new_tokens": LEAST_NEW_TOKENS}

    @field_validator("reward")
    @classmethod
    def _reward_is_known(
        cls, reward: str | TrainedModel | None, info: ValidationInfo
    ) -> str | TrainedModel | None:
        # Where `rewards` are wrong themselves, they are no data.
        if reward is None and not info.data.get("rewards", True):
            raise ValueError(f"{info.data['kind']} needs a reward; {_CHOICES}, or give rewards")
        if isinstance(reward, str) and reward not in RULES:
            raise ValueError(f"there is no rule and no folder {reward!r}; {_CHOICES}")
        return reward

    @property
    def sampled_tokens(self) -> int:
        return self.max_new_tokens

    def problems(self, trial: TrialParts, data: Data | None) -> Iterator[tuple[str, str]]:
        if trial.data.cutoff - self.max_new_tokens < 1:
            yield (
                "max_new_tokens",
                f"{self.max_new_tokens} new tokens leave no room for a prompt in a cutoff of {trial.data.cutoff}",
            )
        if self.min_new_tokens > self.max_new_tokens:
            yield (
                "min_new_tokens",
                f"{self.min_new_tokens} is more than max_new_tokens, {self.max_new_tokens}",
            )
        if self.term_weights and not any(self.term_weights):
            yield "rewards" if self.rewards else "reward_weight", "all weights are 0: nothing is rewarded"
        if isinstance(self.reward, TrainedModel):
            problem = reward_model_problem(self.reward, trial.model, trial.method)
            if problem:
                yield "reward", problem
        if data is not None:
            parts = (data.validation, data.test, data.train)
            # islice reads no more rows than it yields: the parts may be large, and on disk.
            checked = (row for part in parts for row in islice(part, CHECKED_ROWS))
            problem = next((each for row in checked if (each := self._row_problem(row))), None)
            if problem:
                yield "reward" if isinstance(self.reward, str) else "rewards", problem

    def without_effect(self) -> Iterator[tuple[str, str]]:
        if self.reward is None:
            yield "reward_weight", "there is no reward but those of rewards, which have weights of their own"

    def sharding_obstacle(self, trial: TrialParts) -> str | None:
        return f"{self.kind} samples from the policy and swaps the reference's weights in, which needs whole weights"

    def rehearsal(self) -> RewardedStage:
        # Without the reward model, which fits the whole base and not the one layer of a rehearsal.
        return self.model_copy(update={"reward": None}) if isinstance(self.reward, TrainedModel) else self

    def reward_footprint(self) -> RewardModelFootprint | None:
        """What a reward model takes; ``None`` without one. Raises ``MemoryNotPredictable``."""
        if not isinstance(self.reward, TrainedModel):
            return None
        return RewardModelFootprint.from_trained(self.reward)

    def longest_row(self, tokenizer: AnyTokenizer, rows: Sequence[Any], cutoff: int) -> tuple[Any, RowLength]:
        row, length = super().longest_row(tokenizer, rows, cutoff)
        # The encoded row is the prompt alone, and the batch grows by the answer.
        return row, RowLength(length.tokens + self.sampled_tokens)

    def encode(self, tokenizer: transformers.PreTrainedTokenizerBase, row: Any, cutoff: int) -> list[Encoded]:
        """The prompt, or the end of it that leaves room for an answer; without labels, as there is no answer yet."""
        import json

        from trainables.tokenization.encode import encode_prompt
        from trainables.tokenization.remarks import cut_prompt_remark

        tools = json.loads(row.tools) if row.tools else None
        ids, remarks = encode_prompt(tokenizer, row.prompt, tools)
        # At least 1, as ids[-0:] would be the whole prompt.
        kept = ids[-max(cutoff - self.max_new_tokens, 1) :]
        if len(kept) < len(ids):
            remarks = (*remarks, cut_prompt_remark(row.prompt[-1], kept, tokenizer))
        return [Encoded(kept, [IGNORED] * len(kept), len(kept), len(kept) < len(ids), remarks)]

    # Rewards

    @property
    def terms(self) -> tuple[RewardTerm | TrainedModel, ...]:
        """All rewards, ``reward`` first; none in a rehearsal."""
        if self.reward is None:
            return self.rewards
        first = RuleReward(rule=self.reward) if isinstance(self.reward, str) else self.reward
        return first, *self.rewards

    @property
    def term_weights(self) -> tuple[float, ...]:
        """The weights of :attr:`terms`."""
        first = () if self.reward is None else (self.reward_weight,)
        return *first, *(term.weight for term in self.rewards)

    @property
    def term_names(self) -> tuple[str, ...]:
        """The names of :attr:`terms`, each once: the second ``regex`` is ``regex-2``."""
        labels = [MODEL_LABEL if isinstance(term, TrainedModel) else term.label for term in self.terms]
        before: Counter[str] = Counter()
        names = []
        for label in labels:
            before[label] += 1
            names.append(label if before[label] == 1 else f"{label}-{before[label]}")
        return tuple(names)

    def term_rewards(
        self, policy: Policy, rows: Sequence[Any], answers: Sequence[str], cutoff: int
    ) -> list[list[float]]:
        """The rewards of each row's answer by each of :attr:`terms`, without weights: (terms, rows).

        Raises ``DataError`` for a row whose reference a rule can't use, ``RewardModelError``, and ``RewardError``.
        """
        return [
            model_rewards(term, policy, rows, answers, cutoff)
            if isinstance(term, TrainedModel)
            else term.rewards(rows, answers)
            for term in self.terms
        ]

    def answer_rewards(
        self, policy: Policy, rows: Sequence[Any], answers: Sequence[str], cutoff: int
    ) -> list[float]:
        """The reward of each row's answer: (rows,). Raises what :meth:`term_rewards` does."""
        return self._weighted(self.term_rewards(policy, rows, answers, cutoff), len(rows))

    def _weighted(self, terms: Sequence[Sequence[float]], rows: int) -> list[float]:
        """The rewards of all terms (terms, rows), added up by their weights: (rows,)."""
        pairs = list(zip(self.term_weights, terms, strict=True))
        return [sum(weight * term[row] for weight, term in pairs) for row in range(rows)]

    def _row_problem(self, row: Any) -> str | None:
        """Why answers to a row can't be rewarded; ``None`` where they can."""
        terms = (term for term in self.terms if isinstance(term, RewardTerm))
        return next((each for term in terms if (each := term.row_problem(row))), None)

    # Scores

    def quality(self, data: Data) -> Metric:
        return Metric("reward", higher_is_better=True, unit="reward")

    def objective_name(self) -> str:
        return "mean reward"

    def validation_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        texts = decoded(policy, greedy_answers(self, policy, tokens))
        rewards = self.answer_rewards(policy, rows, texts, cutoff)
        return {"objective": sum(rewards) / len(rewards)}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        """Each row's score is the reward of its greedy answer.

        ``kl``: ln policy/reference of the answers, in nats per answer, where there is a reference; ``ended``: the share
        that end by themselves. With several rewards, ``reward_NAME`` is the mean of each, without its weight.
        """
        from trainables.data.thinking import answer_matches
        from trainables.scoring.generation import end_tokens
        from trainables.training.reference_policy import has_reference

        prompts = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        answers = greedy_answers(self, policy, prompts)
        texts = decoded(policy, answers)
        terms = self.term_rewards(policy, rows, texts, cutoff)
        rewards = self._weighted(terms, len(rows))
        matches: Sequence[float | None] = [None] * len(rows)
        if has_references := all(row.reference is not None for row in rows):
            matches = answer_matches(texts, (row.reference for row in rows))
        scored = tuple(
            ScoredRow(number, row.prompt_json(), row.reference or "", text, float(reward), exact_match=match)
            for number, (row, text, reward, match) in enumerate(
                zip(rows, texts, rewards, matches, strict=True)
            )
        )
        ends = set(end_tokens(policy))
        metrics = {
            "reward": sum(rewards) / len(rewards),
            "ended": sum(answer[-1] in ends for answer in answers) / len(answers),
        }
        if has_reference(policy):
            metrics["kl"] = answers_kl(policy, prompts, answers, self.eval_batch)
        if len(terms) > 1:
            each = zip(self.term_names, terms, strict=True)
            metrics |= {f"reward_{name}": sum(term) / len(rows) for name, term in each}
        if has_references:
            metrics["exact_match"] = sum(match or 0.0 for match in matches) / len(rows)
        return Scores(scored, metrics)


def own_rewards(stage: TrainingStage) -> tuple[FunctionReward, ...]:
    """The rewards of a stage that are functions of one's own."""
    rewards = stage.rewards if isinstance(stage, RewardedStage) else ()
    return tuple(reward for reward in rewards if isinstance(reward, FunctionReward))
