"""Proximal policy optimization: sample answers, reward them, and make them more or less likely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from trainables.config.trained_model import TrainedModel
from trainables.data.rows import Conversation, Prompt
from trainables.models.architecture.decoder_shape import MemoryNotPredictable
from trainables.stages.base import Metric, ScoredRow, Scores, TrialParts
from trainables.stages.forward_pass import Batch, RewardModelFootprint, Rollout, RowLength, WholeLogits
from trainables.stages.ppo.reward_rules import RULES, reward_model_problem
from trainables.stages.ppo.settings import PPOSettings
from trainables.tokenization.encode import IGNORED, Encoded

if TYPE_CHECKING:
    import transformers

    from trainables.config.train import TrainConfig
    from trainables.data.loading import Data
    from trainables.tokenization.deferred_tokenizer import AnyTokenizer
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer

# Rows of each part whose references are checked while planning; those of other rows are when they are rewarded.
CHECKED_ROWS = 1000


class PPO(PPOSettings):
    """Clipped policy and value losses on sampled answers (Schulman et al., 2017, arXiv:1707.06347), with a penalty on
    the KL to the untrained policy (Ziegler et al., 2019, arXiv:1909.08593).

    A step samples an answer to each of its prompts, computes log-probabilities, values and rewards once, and makes
    ``epochs`` x ``mini_batches`` optimizer updates. One base is in memory: the value head is a linear layer on the
    policy's last hidden state, and the reference is the policy with its adapters off, or with a copy of the trained
    weights from before training. Dropout is off.

    Quality is the mean reward of greedy answers.
    """

    row_type: ClassVar[type] = Prompt
    compile_obstacle: ClassVar[str | None] = (
        "answers are sampled with plain layers, and the first ratios with compiled ones would not be 1"
    )
    learning_rate_factor: ClassVar[float] = 0.1
    encoding: ClassVar[tuple[str, ...]] = ("max_new_tokens",)
    loss_falls: ClassVar[bool] = False  # it is that of answers which change
    logged_metrics: ClassVar[tuple[str, ...]] = (
        "reward",
        "kl",
        "kl_coefficient",
        "ratio",
        "clip_fraction",
        "policy_loss",
        "value_loss",
        "entropy",
        "answer_tokens",
    )

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
        if self.mini_batches > trial.train.batch_size:
            rows = trial.train.batch_size
            yield "mini_batches", f"{rows} rows can't be shared by {self.mini_batches} mini-batches"
        if isinstance(self.reward, TrainedModel):
            problem = reward_model_problem(self.reward, trial.model, trial.method)
            if problem:
                yield "reward", problem
        elif data is not None:
            parts = (data.validation, data.test, data.train)
            # islice reads no more rows than it yields: the parts may be large, and on disk.
            checked = (row for part in parts for row in islice(part, CHECKED_ROWS))
            problem = next((each for row in checked if (each := self._reference_problem(row))), None)
            if problem:
                yield "reward", problem

    def sharding_obstacle(self, trial: TrialParts) -> str | None:
        return "ppo samples from the policy and swaps the reference's weights in, which needs whole weights"

    def worst_case(self) -> PPO:
        # One epoch: the others take the same memory, and time.
        return self.model_copy(update={"min_new_tokens": self.max_new_tokens, "epochs": 1})

    def rehearsal(self) -> PPO:
        # Without the reward model, which fits the whole base and not the one layer of a rehearsal.
        return self.model_copy(update={"reward": None}) if isinstance(self.reward, TrainedModel) else self

    def forward_pass(self, rows: int, length: RowLength) -> Batch | None:
        """A mini-batch of answers of ``max_new_tokens`` tokens.

        Of the logits the backward pass needs the log-softmax in 32 bits, and a byte each for which were masked.
        """
        try:
            reward = (
                RewardModelFootprint.from_trained(self.reward)
                if isinstance(self.reward, TrainedModel)
                else None
            )
        except MemoryNotPredictable:
            return None
        mini_batch = -(-rows // self.mini_batches)  # rounded up
        # `cast`: within autocast each logit is there in the products' type and in 32 bits, 2 + 4 bytes.
        logits = WholeLogits(kept=5, forward=8, backward=8, cast=6)
        return Batch(
            mini_batch,
            length.tokens,
            mini_batch * self.max_new_tokens,
            logits,
            Rollout(rows, self.max_new_tokens, reward),
        )

    def longest_row(self, tokenizer: AnyTokenizer, rows: Sequence[Any], cutoff: int) -> tuple[Any, RowLength]:
        row, length = super().longest_row(tokenizer, rows, cutoff)
        # The encoded row is the prompt alone, and the batch grows by the answer.
        return row, RowLength(length.tokens + self.max_new_tokens)

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

    def trainer(
        self, policy: Policy, rows: Sequence[Any], train: TrainConfig, cutoff: int, arguments: dict[str, Any]
    ) -> StageTrainer:
        from trainables.stages.ppo.trainer import PPOTrainer

        tokens = self.tokens(policy.tokenizer, rows, cutoff)
        reward = partial(self.answer_rewards, policy, cutoff=cutoff)
        return PPOTrainer(self, reward, policy, rows, tokens, train, arguments)

    def answer_rewards(
        self, policy: Policy, rows: Sequence[Any], answers: Sequence[str], cutoff: int
    ) -> list[float]:
        """The reward of each row's answer: (rows,).

        Raises ``DataError`` for a row whose reference the rule can't use, and ``RewardModelError``.
        """
        from trainables.data.errors import DataError

        if self.reward is None:  # in a rehearsal
            return [0.0] * len(rows)
        if isinstance(self.reward, TrainedModel):
            return _model_rewards(self.reward, policy, rows, answers, cutoff)
        rule = RULES[self.reward]
        problem = next((each for row in rows if (each := self._reference_problem(row))), None)
        if problem:
            raise DataError(problem)
        return [rule.reward(answer, row.reference) for row, answer in zip(rows, answers, strict=True)]

    def _reference_problem(self, row: Any) -> str | None:
        """Why the rule can't reward answers to a row; ``None`` where it can."""
        rule = RULES[str(self.reward)]
        if row.reference is None:
            return f"the rule {self.reward!r} needs rows with a reference, and there are rows without one"
        if not rule.accepts(row.reference):
            kind = rule.reference_kind
            return f"the rule {self.reward!r} needs {kind} as reference, which {row.reference[:60]!r} isn't"
        return None

    def quality(self, data: Data) -> Metric:
        return Metric("reward", higher_is_better=True, unit="reward")

    def objective_name(self) -> str:
        return "mean reward"

    def validation_scores(self, policy: Policy, rows: Sequence[Any], cutoff: int) -> dict[str, float]:
        tokens = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        answers = self._answers(policy, tokens)
        rewards = self.answer_rewards(policy, rows, _texts(policy, answers), cutoff)
        return {"objective": sum(rewards) / len(rewards)}

    def score(self, policy: Policy, data: Data, rows: Sequence[Any], cutoff: int) -> Scores:
        """Each row's score is the reward of its greedy answer.

        ``kl``: ln policy/reference of the answers, in nats per answer; ``ended``: the share that end by themselves.
        """
        from trainables.data.thinking import answer_matches
        from trainables.scoring.generation import end_tokens

        prompts = self.tokens(policy.tokenizer, rows, cutoff, scoring=True)
        answers = self._answers(policy, prompts)
        texts = _texts(policy, answers)
        rewards = self.answer_rewards(policy, rows, texts, cutoff)
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
            "kl": self._kl(policy, prompts, answers),
            "ended": sum(answer[-1] in ends for answer in answers) / len(answers),
        }
        if has_references:
            metrics["exact_match"] = sum(match or 0.0 for match in matches) / len(rows)
        return Scores(scored, metrics)

    def _answers(self, policy: Policy, prompts: Sequence[Encoded]) -> list[list[int]]:
        """The greedy answer to each prompt, its end token included."""
        from trainables.scoring.generation import continue_greedily, end_tokens

        starts = [row.input_ids for row in prompts]
        answers = continue_greedily(policy, starts, self.max_new_tokens, self.eval_batch, self.min_new_tokens)
        ends = set(end_tokens(policy))
        return [_to_end(answer, ends) for answer in answers]

    def _kl(self, policy: Policy, prompts: Sequence[Encoded], answers: Sequence[list[int]]) -> float:
        from trainables.scoring.likelihood import log_likelihoods
        from trainables.training.reference_policy import as_reference

        rows = [
            # Labels on the answer alone: those of a prompt are IGNORED.
            Encoded(row.input_ids + answer, row.labels + answer, len(row.input_ids), truncated=False)
            for row, answer in zip(prompts, answers, strict=True)
        ]
        policy_likelihoods = log_likelihoods(policy, rows, self.eval_batch)
        with as_reference(policy):
            reference_likelihoods = log_likelihoods(policy, rows, self.eval_batch)
        both = zip(policy_likelihoods, reference_likelihoods, strict=True)
        return sum(trained.logprob - untrained.logprob for trained, untrained in both) / len(rows)


def _model_rewards(
    trained: TrainedModel, policy: Policy, rows: Sequence[Any], answers: Sequence[str], cutoff: int
) -> list[float]:
    from trainables.stages.ppo.reward_model import rewards
    from trainables.tokenization.encode import encode

    assert trained.folder is not None
    # Encoded anew from the text, as in the reward model's training; the sampled tokens may be others.
    pairs = zip(rows, answers, strict=True)
    conversations = (Conversation(row.prompt, answer, (), row.tools) for row, answer in pairs)
    return rewards(policy, trained.folder, [encode(each, policy.tokenizer, cutoff) for each in conversations])


def _to_end(answer: list[int], ends: set[int]) -> list[int]:
    """The answer's tokens up to the first end token, that one included."""
    places = (place for place, token in enumerate(answer, start=1) if token in ends)
    return answer[: next(places, len(answer))]


def _texts(policy: Policy, answers: Sequence[list[int]]) -> list[str]:
    texts = policy.tokenizer.batch_decode(list(answers), skip_special_tokens=True)
    return [text.strip() for text in texts]
