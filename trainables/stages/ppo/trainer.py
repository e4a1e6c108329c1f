"""PPO within transformers' training loop: each of its steps samples answers and makes several updates.

Checked with transformers 5.24.0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from trainables.models.architecture.decoding import pad_left
from trainables.scoring.generation import end_tokens, row_seeds, sample_answers
from trainables.stages.ppo import formulas
from trainables.stages.ppo.token_estimates import TokenEstimates, ValueHead, estimate_tokens, mask_early_ends
from trainables.tokenization import batching
from trainables.tokenization.token_table import Tokens
from trainables.training.checkpoints import Metrics
from trainables.training.dropout import turn_dropout_off
from trainables.training.policy import Policy
from trainables.training.reference_policy import as_reference, keep_reference
from trainables.training.stage_trainer import RowOrder, StageTrainer

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.stages.ppo.settings import PPOSettings

HEAD, STATE = "value_head.safetensors", "ppo.json"  # in a checkpoint, beside the policy


@dataclass(frozen=True)
class Answers:
    """Sampled answers, and what the policy and the rewards said about them before the first update.

    ``ids`` and ``mask`` (answers, prompt + answer tokens) begin with the prompts, padded on the left; all else is
    (answers, tokens). ``counted`` is true on an answer's tokens, its end included, and false on its padding.
    """

    ids: Tensor
    mask: Tensor
    counted: Tensor
    logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, rows: slice) -> Answers:
        return Answers(**{name: value[rows] for name, value in vars(self).items()})


class PPOTrainer(StageTrainer):
    """A step samples an answer to each of its prompts, then makes epochs x mini-batches updates.

    The last of the updates is made by transformers, so clipping, logs, schedules, checkpoints and callbacks are as for
    any stage. With gradient accumulation the answers to all of a step's batches share its updates.
    """

    def __init__(
        self,
        settings: PPOSettings,
        reward: Callable[[Sequence[Any], Sequence[str]], list[float]],
        policy: Policy,
        rows: Sequence[Any],
        tokens: Tokens,
        train: TrainConfig,
        arguments: dict[str, Any],
    ) -> None:
        """``reward`` gives the reward of each row's answer: (rows, texts) -> (rows,)."""
        self.settings, self.reward, self.policy, self.rows = settings, reward, policy, rows
        self.ends = end_tokens(policy)
        width = policy.causal.get_output_embeddings().weight.shape[1]
        self.value_head = ValueHead(width).to(policy.device)
        self.kl = formulas.KLController(settings.kl_coefficient, settings.kl_target, settings.kl_horizon)
        self.answered = 0  # tokens of all answers so far
        self._step_answers: list[Answers] = []  # of the batches that the current step accumulates
        self._logged: list[dict[str, Any]] = []  # numbers, and tensors that are read when they are logged
        turn_dropout_off(policy.model)
        keep_reference(policy)
        # transformers would remove the column "row", which is no argument of the model's forward.
        args = TrainingArguments(**arguments, remove_unused_columns=False)
        count = train.rows_seen(args.max_steps, len(tokens), args.world_size)
        places = batching.example_order(tokens.lengths, count, **train.batching())
        super().__init__(
            model=policy.model,
            args=args,
            row_order=RowOrder(places, tokens.lengths[places]),
            train_dataset=_Prompts(tokens),
            data_collator=_Collator(policy.tokenizer.pad_token_id),
            processing_class=policy.tokenizer,
        )
        # Gradients are averaged here, see `_average_gradients`; DDP's wrapper would only hold them once more.
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)

    def tokens_after(self, step: int) -> int:
        """The prompts' tokens, and those of all answers so far."""
        return super().tokens_after(step) + self.answered

    # A step

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        model.train()  # turns gradient checkpointing on; dropout is off
        self._step_answers.append(self._sample_and_score(inputs))
        # transformers adds up the losses of a step's batches: the last one gives the step's, others 0.
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        step_answers, self._step_answers = self._step_answers, []
        return self._update(self._whiten_advantages(step_answers))

    def _sample_and_score(self, inputs: dict[str, Any]) -> Answers:
        """Samples an answer to each prompt of a batch, and computes all that the updates need to know about it."""
        prompts, mask = (
            inputs["input_ids"].to(self.args.device),
            inputs["attention_mask"].to(self.args.device),
        )
        settings = self.settings
        seeds = row_seeds(self.args.seed, self._answers_before(len(prompts)), len(prompts))
        answers = sample_answers(
            self.policy,
            prompts,
            mask,
            settings.max_new_tokens,
            settings.min_new_tokens,
            settings.temperature,
            seeds,
        )
        counted = formulas.up_to_end(answers, self.ends)
        ids, mask = torch.cat([prompts, answers], 1), torch.cat([mask, counted.to(mask.dtype)], 1)
        with torch.no_grad():
            policy = self._estimates(ids, mask, counted)
        with as_reference(self.policy):
            untrained = self._estimates(ids, mask, counted)
        kl = formulas.kl_estimate(policy.logprobs, untrained.logprobs, settings.kl_estimator)
        scores = self._scores(inputs["row"], answers, counted)
        rewards = formulas.token_rewards(
            self._shaped_scores(scores, answers, counted), kl, counted, self.kl.coefficient
        )
        if settings.whiten_rewards:
            rewards = formulas.whiten(
                rewards, counted, shift_mean=False, sum_over_workers=self._sum_over_workers
            )
        advantages, returns = formulas.advantages(
            rewards, policy.values, counted, settings.gamma, settings.lam
        )
        # Nats per answer over all workers' answers, so that the controllers of all workers stay equal.
        mean_kl = self._mean_over_workers((kl * counted).sum(1).mean()).item()
        self._collect_logs(
            reward=scores.mean(),
            kl=mean_kl,
            kl_coefficient=self.kl.coefficient,
            # Divided by the workers' mean count: the mean over the workers in the log is that of all tokens.
            entropy=(policy.entropy * counted).sum() / self._mean_over_workers(counted.sum().float()),
            answer_tokens=counted.sum(1).float().mean(),
        )
        self.kl = self.kl.after(mean_kl, len(ids) * self.args.world_size)
        self.answered += round(self._mean_over_workers(counted.sum().float()).item() * self.args.world_size)
        return Answers(ids, mask, counted, policy.logprobs, policy.values, advantages, returns)

    def _answers_before(self, rows: int) -> int:
        """The number, among all answers of the trial, of this worker's next answer; it will sample ``rows`` of them.

        An answer's seed follows from its number, so that answers are the same however many workers sample them.
        """
        args = self.args
        # All batches before this one were full: only the last of a run may have fewer rows.
        batches = self.state.global_step * args.gradient_accumulation_steps + len(self._step_answers)
        all_workers_batch = args.per_device_train_batch_size * args.world_size
        return batches * all_workers_batch + args.process_index * rows

    def _scores(self, rows: Sequence[int], answers: Tensor, counted: Tensor) -> Tensor:
        """Each answer's reward: (answers,). ``rows`` are the numbers of the prompts' rows."""
        tokens = [answer[kept].tolist() for answer, kept in zip(answers, counted, strict=True)]
        texts = self.policy.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        rewards = self.reward([self.rows[row] for row in rows], [text.strip() for text in texts])
        return torch.tensor(rewards, dtype=torch.float32, device=answers.device)

    def _shaped_scores(self, scores: Tensor, answers: Tensor, counted: Tensor) -> Tensor:
        """The scores with the penalty for answers that don't end, and normalized if so set: (answers,)."""
        last = answers.gather(1, counted.sum(1, keepdim=True) - 1)[:, 0]
        unended = ~torch.isin(last, torch.tensor(self.ends, device=last.device))
        scores = scores - self.settings.missing_eos_penalty * unended
        if not self.settings.normalize_scores:
            return scores
        return formulas.normalize(scores, sum_over_workers=self._sum_over_workers)

    def _whiten_advantages(self, step_answers: list[Answers]) -> list[Answers]:
        """The answers with advantages scaled to mean 0 and variance 1 over all tokens of the step."""
        advantages = torch.cat([answers.advantages[answers.counted] for answers in step_answers])  # (tokens,)
        whitened = formulas.whiten(
            advantages,
            torch.ones_like(advantages, dtype=torch.bool),
            sum_over_workers=self._sum_over_workers,
        )
        parts = whitened.split([int(answers.counted.sum()) for answers in step_answers])
        result = []
        for answers, part in zip(step_answers, parts, strict=True):
            # A boolean index goes row by row in reading and writing, so each number returns to its place.
            spread = torch.zeros_like(answers.advantages)
            spread[answers.counted] = part
            result.append(replace(answers, advantages=spread))
        return result

    # Updates

    def _update(self, step_answers: list[Answers]) -> Tensor:
        """Makes all updates but the last, whose gradient it leaves for transformers; returns their mean loss."""
        # By batch, then by mini-batch: an update goes over one mini-batch of every batch of the step.
        split = [
            [answers.part(rows) for rows in self._mini_batches(len(answers))] for answers in step_answers
        ]
        # A last batch may have fewer rows than there are mini-batches. All workers need the same count, as
        # an update is a collective operation; each of these has an answer on at least one worker.
        count = min(self.settings.mini_batches, max(map(len, step_answers)) * self.args.world_size)
        batches = [[parts[number] for parts in split if len(parts[number])] for number in range(count)]
        # The mini-batches' numbers, shuffled anew in each epoch.
        # All workers draw the same order, for their generators are seeded alike.
        plan = [
            number for _ in range(self.settings.epochs) for number in torch.randperm(len(batches)).tolist()
        ]
        optimizer, results = self.optimizer, []
        assert optimizer is not None
        for update, number in enumerate(plan, start=1):
            optimizer.zero_grad()
            results.append(self._gradient(batches[number]))
            if update < len(plan):
                self.update_within_step()
        means = {name: torch.stack([each[name] for each in results]).mean() for name in results[0]}
        loss = means.pop("loss")
        # The ratio of the first update is 1, as the policy has not changed yet; else something is wrong.
        self._collect_logs(**{**means, "ratio": results[0]["ratio"]})
        return loss

    def _gradient(self, batch: list[Answers]) -> dict[str, Tensor]:
        """Computes the gradient of one mini-batch, whose losses are means over its tokens on all workers.

        Returns the losses and statistics, which are to be averaged over the workers. A worker may have no answer of a
        mini-batch.
        """
        tokens = float(sum(answers.counted.sum() for answers in batch))
        # The mean over the workers, as gradients and results are averaged over them afterwards.
        total = self._mean_over_workers(torch.tensor(tokens, device=self.args.device))
        names = ("policy_loss", "value_loss", "clip_fraction", "ratio", "loss")
        sums = dict.fromkeys(names, torch.zeros((), device=self.args.device))
        for answers in batch:
            now = self._forward(answers.ids, answers.mask, answers.counted)
            policy = formulas.policy_loss(
                now.logprobs, answers.logprobs, answers.advantages, self.settings.clip_range
            )
            value = formulas.value_loss(
                now.values, answers.values, answers.returns, self.settings.value_clip_range
            )
            ratio = (now.logprobs - answers.logprobs).detach().exp()
            outside = ((ratio - 1).abs() > self.settings.clip_range).float()
            parts = {"policy_loss": policy, "value_loss": value, "clip_fraction": outside, "ratio": ratio}
            parts = {name: (each * answers.counted).sum() / total for name, each in parts.items()}
            parts["loss"] = parts["policy_loss"] + self.settings.value_coefficient * parts["value_loss"]
            self.accelerator.backward(parts["loss"])
            sums = {name: sums[name] + parts[name].detach() for name in names}
        self._average_gradients()
        self.add_gradients()
        return sums

    def _mini_batches(self, rows: int) -> list[slice]:
        """Which of this worker's ``rows`` are in each mini-batch: of all workers' rows every n-th, for n mini-batches.

        They are the same in every epoch, and the same as in :meth:`_estimates`.
        """
        step, before = self.settings.mini_batches, self.args.process_index * rows
        return [slice((number - before) % step, None, step) for number in range(step)]

    def _estimates(self, ids: Tensor, mask: Tensor, counted: Tensor) -> TokenEstimates:
        """The policy's estimates, mini-batch by mini-batch as in the updates: rounding is the same, so the first ratio
        is 1.
        """
        whole = TokenEstimates(*(torch.zeros(counted.shape, device=ids.device) for _ in range(3)))
        for rows in self._mini_batches(len(ids)):
            if len(ids[rows]):
                part = self._forward(ids[rows], mask[rows], counted[rows])
                for name, values in vars(part).items():
                    getattr(whole, name)[rows] = values
        return whole

    def _forward(self, ids: Tensor, mask: Tensor, counted: Tensor) -> TokenEstimates:
        """The policy's estimates at the answers' tokens, by one forward pass."""
        settings = self.settings
        return estimate_tokens(
            self.policy,
            self.value_head,
            (ids, mask, counted),
            settings.temperature,
            partial(mask_early_ends, ends=self.ends, minimum=settings.min_new_tokens),
            self.accelerator.autocast,
        )

    # The value head beside the policy

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        head = list(self.value_head.parameters())
        existing = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if id(head[0]) not in existing:  # transformers calls this again with the optimizer made before
            optimizer.add_param_group({"params": head, "weight_decay": 0.0})
        return optimizer

    def _trained_parameters(self) -> list[nn.Parameter]:
        trained = [p for p in self.policy.model.parameters() if p.requires_grad]
        return [*trained, *self.value_head.parameters()]

    # transformers would take the model's parameters, without the value head.
    def _clip_grad_norm(self, model: Any) -> Any:
        return self.accelerator.clip_grad_norm_(self._trained_parameters(), self.args.max_grad_norm)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if grad_norm is None:
            grad_norm = self.accelerator.clip_grad_norm_(self._trained_parameters(), float("inf"))
        return super()._get_grad_norm(model, grad_norm)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        from safetensors.torch import save_file

        super()._save(output_dir, state_dict)
        folder = Path(output_dir or str(self.args.output_dir))
        save_file(self.value_head.state_dict(), folder / HEAD)
        state = {"kl_coefficient": self.kl.coefficient, "answered": self.answered}
        (folder / STATE).write_text(json.dumps(state), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        from safetensors.torch import load_file

        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        self.value_head.load_state_dict(load_file(folder / HEAD))
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        self.kl = replace(self.kl, coefficient=state["kl_coefficient"])
        self.answered = state["answered"]

    # Workers and logs

    def _average_gradients(self) -> None:
        """Averages gradients over the workers, as DDP does; its wrapper's forward pass isn't used here."""
        if self.args.world_size > 1:
            for parameter in self._trained_parameters():
                # A worker without an answer of the mini-batch has no gradients.
                gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self._mean_over_workers(gradient)

    def _sum_over_workers(self, value: Tensor) -> Tensor:
        return self.accelerator.reduce(value, "sum") if self.args.world_size > 1 else value

    def _mean_over_workers(self, value: Tensor) -> Tensor:
        return self.accelerator.reduce(value, "mean") if self.args.world_size > 1 else value

    def _collect_logs(self, **values: Any) -> None:
        self._logged.append(values)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # The summary at the end of training is logged, too, and has no loss of a step.
        if "loss" in logs:
            logs |= self._mean_logs()
        super().log(logs, start_time)

    def unlogged_metrics(self) -> Metrics:
        collected = {
            name: [float(entry[name]) for entry in self._logged if name in entry]
            for name in self.settings.logged_metrics
        }
        means = {
            name: (sum(values) / len(values), len(values)) for name, values in collected.items() if values
        }
        return {**super().unlogged_metrics(), **means}

    def resume_metrics(self, metrics: Metrics) -> None:
        own = {name: each for name, each in metrics.items() if name in self.settings.logged_metrics}
        super().resume_metrics({name: each for name, each in metrics.items() if name not in own})
        self._logged += [{name: mean} for name, (mean, count) in own.items() for _ in range(count)]

    def _mean_logs(self) -> dict[str, float]:
        """The means of all values collected since the last log entry, over all workers."""
        found = self.unlogged_metrics()
        means = {name: found[name][0] for name in self.settings.logged_metrics if name in found}
        self._logged = []
        # All workers log the same names in the same order, so one vector (names,) is averaged over them.
        values = torch.tensor([*means.values()], dtype=torch.float64, device=self.args.device)
        return dict(zip(means, self._mean_over_workers(values).tolist(), strict=True))


class _Prompts(torch.utils.data.Dataset[Any]):
    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return {"input_ids": self.tokens[place].input_ids, "row": int(self.tokens.rows[place])}


class _Collator:
    """Collates prompts padded on the left, so that all answers begin at the same position."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        ids, mask = pad_left([row["input_ids"] for row in rows], self.pad)
        return {"input_ids": ids, "attention_mask": mask, "row": [row["row"] for row in rows]}
