"""TRL's GRPO trainer with answers sampled as in every other stage here; each override says why.

TRL's loss, advantages, weights of rewards and logs stay as they are. Checked with TRL 1.16.0 and transformers 5.24.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from trl import GRPOConfig, GRPOTrainer

from trainables.models.architecture.decoding import pad_left
from trainables.models.architecture.router_loss import router_coefficient
from trainables.scoring.generation import end_tokens, row_seeds, sample_answers
from trainables.stages.ppo.formulas import up_to_end
from trainables.stages.rewards.answers import decoded
from trainables.tokenization import batching
from trainables.training.dropout import turn_dropout_off
from trainables.training.reference_policy import as_reference, keep_reference
from trainables.training.trainer_setup import make_trainer, rows_on_disk

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.stages.grpo.settings import GRPOSettings
    from trainables.training.policy import Policy
    from trainables.training.stage_trainer import StageTrainer


def grpo_trainer(
    stage: GRPOSettings,
    policy: Policy,
    rows: Sequence[Any],
    train: TrainConfig,
    cutoff: int,
    arguments: dict[str, Any],
) -> StageTrainer:
    """A trainer over the prompts of ``rows``. A batch has ``num_generations`` answers to each of its prompts."""
    group, tokens = stage.num_generations, stage.tokens(policy.tokenizer, rows, cutoff)
    prompts = arguments["per_device_train_batch_size"]
    settings = GRPOConfig(
        **{**arguments, "per_device_train_batch_size": prompts * group},
        **stage.loss_settings,
        num_generations=group,
        max_completion_length=stage.max_new_tokens,
        temperature=stage.temperature,
        reward_weights=list(stage.term_weights) or [1.0],
        # TRL would hold a second model, or a second adapter; see `_get_per_token_logps_and_entropies`.
        beta=0.0,
        # Each batch's answers are sampled with the policy that the step begins with; see `training_step`.
        steps_per_generation=1,
        num_iterations=1,
        router_aux_loss_coef=router_coefficient(policy.causal.config, train.router_aux_loss),
        remove_unused_columns=False,
        disable_dropout=False,  # of modules alone, where attention keeps its dropout as a number
    )
    turn_dropout_off(policy.model)
    if stage.beta:
        keep_reference(policy)
    count = train.rows_seen(settings.max_steps, len(tokens), settings.world_size)
    order = batching.example_order(tokens.lengths, count, **train.batching())
    reached, places = np.unique(order, return_inverse=True)
    dataset = rows_on_disk(
        {"prompt": tokens[int(place)].input_ids, "row": int(tokens.rows[place])} for place in reached
    )
    names = stage.term_names or ("none",)  # none in a rehearsal, where all rewards are 0

    def rewards(completions: Sequence[str], row: Sequence[int]) -> list[list[float]]:
        """The rewards of answers by each of the stage's terms: (terms, answers)."""
        found = stage.term_rewards(policy, [rows[number] for number in row], completions, cutoff)
        return found or [[0.0] * len(completions)]

    return make_trainer(
        GroupTrainer,
        policy,
        settings,
        dataset,
        np.repeat(places, group),
        np.repeat(tokens.lengths[order], group),
        # One is called for all, as a reward model is given all answers at once.
        reward_funcs=[partial(_placeholder, name) for name in names],
        sampler=policy,
        stage=stage,
        rewards=rewards,
    )


def _placeholder(name: str, **kwargs: Any) -> list[float]:
    raise NotImplementedError(f"the reward {name} is computed by GroupTrainer._calculate_rewards")


class GroupTrainer(GRPOTrainer):
    """A step samples the answers to all of its batches' prompts, then makes ``iterations`` updates.

    The last of the updates is made by transformers, so that clipping, logs, schedules, checkpoints and callbacks are as
    for any stage.
    """

    # Of TRL's fused head, see ``training.fused_head``: tokens are weighed by their advantages.
    head_outputs = ("log_probs", "entropy")

    def __init__(
        self, *args: Any, sampler: Policy, stage: GRPOSettings, rewards: Any, **options: Any
    ) -> None:
        """``rewards(completions, row)`` gives the rewards of answers to rows by number: (terms, answers)."""
        self.policy, self.stage, self.rewards = sampler, stage, rewards
        self.ends = end_tokens(sampler)
        self._step_answers: list[dict[str, Any]] = []  # of the batches that the current step accumulates
        self._latest_logps: Tensor | None = None
        super().__init__(*args, **options)
        # Here and not in the arguments, by which TRL would make a reference of its own.
        self.beta = stage.beta
        self.ref_model = sampler.model if stage.beta else None

    @property
    def answer_tokens(self) -> int:
        """The tokens of all answers so far, of all workers."""
        return int(self.state.num_input_tokens_seen)

    # A step

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """TRL samples anew in the middle of a step's updates, and keeps answers in memory over several steps, which a
        resumed trial would lack.
        """
        model.train()  # turns gradient checkpointing on; dropout is off
        self._step_answers.append(self._generate_and_score_completions(inputs))
        # transformers adds up the losses of a step's batches: the last one gives the step's, others 0.
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        batches, self._step_answers = self._step_answers, []
        # Of all answers of the step, as TRL divides by it and by the number of batches.
        tokens = torch.stack([batch["num_items_in_batch"] for batch in batches]).float().mean()
        for batch in batches:
            batch["num_items_in_batch"] = tokens
        assert self.optimizer is not None
        losses = []
        for update in range(1, self.stage.iterations + 1):
            self.optimizer.zero_grad()
            losses.append(self._gradient(model, batches))
            # After the last one, StageTrainer adds the method's own gradients and transformers updates.
            if update < self.stage.iterations:
                self.add_gradients()  # type: ignore[attr-defined]
                self.update_within_step()  # type: ignore[attr-defined]  # StageTrainer's
        return torch.stack(losses).mean()

    def _gradient(self, model: nn.Module, batches: list[dict[str, Any]]) -> Tensor:
        """Computes the gradient of the step's loss, and returns the loss."""
        total = torch.zeros((), device=self.args.device)
        rows = [len(batch["completion_ids"]) for batch in batches]
        for batch, count in zip(batches, rows, strict=True):
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, batch)
            # A mean over batches, where TRL takes one of answers: a last batch that isn't full would count too much.
            # Its dapo divides by the tokens of the step.
            if self.stage.loss != "dapo":
                loss = loss * (count * len(rows) / sum(rows))
            # Those of the first update are those of the policy that sampled.
            assert self._latest_logps is not None
            batch.setdefault("old_per_token_logps", self._latest_logps)
            self.accelerator.backward(loss)
            total = total + loss.detach()
        self._latest_logps = None
        return total

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **options: Any) -> Any:
        """Of the reference by the policy's own model, in which the reference's weights stand meanwhile."""
        if not torch.is_grad_enabled():
            with as_reference(self.policy):
                return super()._get_per_token_logps_and_entropies(self.model, *args, **options)
        found = super()._get_per_token_logps_and_entropies(model, *args, **options)
        self._latest_logps = found[0].detach()
        return found

    # Answers and their rewards

    def _generate(self, prompts: list[list[int]]) -> tuple[Any, ...]:
        """Answers whose seeds follow from their numbers: they are the same after a resume, and however many workers
        sample them. TRL draws all from one generator.
        """
        stage, device = self.stage, self.args.device
        ids, mask = (each.to(device) for each in pad_left(prompts, self.policy.tokenizer.pad_token_id))
        seeds = row_seeds(self.args.seed, self._answers_before(len(prompts)), len(prompts))
        limits = stage.max_new_tokens, stage.min_new_tokens, stage.temperature
        answers = sample_answers(self.policy, ids, mask, *limits, seeds)
        counted = up_to_end(answers, self.ends)
        tokens = [answer[kept].tolist() for answer, kept in zip(answers, counted, strict=True)]
        lengths = self.accelerator.gather(counted.sum(1))
        self.state.num_input_tokens_seen += int(lengths.sum())
        self._metrics["train"]["answer_tokens"].append(lengths.float().mean().item())
        return prompts, tokens, None, decoded(self.policy, tokens), None, {}, None, []

    def _answers_before(self, rows: int) -> int:
        """The number, among all answers of the trial, of this worker's next answer; it will sample ``rows`` of them."""
        args = self.args
        # All batches before this one were full: only the last of a run may have fewer rows.
        batches = self.state.global_step * args.gradient_accumulation_steps + len(self._step_answers)
        all_workers_batch = args.per_device_train_batch_size * args.world_size
        return batches * all_workers_batch + args.process_index * rows

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        """The rewards of all workers' answers: (answers, terms)."""
        rewards = self.rewards(completions, [row["row"] for row in inputs])
        mine = torch.tensor(rewards, dtype=torch.float32, device=self.args.device).T.contiguous()
        every: Tensor = self.accelerator.gather(mine)
        return every
