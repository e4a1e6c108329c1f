"""The loop of PPO within transformers' own: each of its steps samples, judges, and updates several times."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import TrainingArguments

from trainables.scoring.generation import end_tokens, pad_left, row_seeds, sample_answers
from trainables.scoring.likelihood import head_logits
from trainables.stages.ppo import formulas as maths
from trainables.tokenization import batching
from trainables.tokenization.token_table import Tokens
from trainables.training.policy import Policy
from trainables.training.reference_policy import as_reference, keep_reference
from trainables.training.stage_trainer import RowOrder, StageTrainer

if TYPE_CHECKING:
    from trainables.config.train import TrainConfig
    from trainables.stages.ppo.settings import PPOSettings

HEAD, STATE = "value_head.safetensors", "ppo.json"  # in a checkpoint, beside the policy


@dataclass
class Answers:
    """Sampled answers with what was found of them before the first update; all (answers, tokens) but ``ids``, ``mask``.

    ``ids`` and ``mask`` (answers, prompt + answer tokens) begin with the prompts, padded on the left. ``counted`` is
    true on an answer's own tokens, its end included.
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


@dataclass
class Judged:
    """What the policy says to each answer's tokens; (answers, tokens), 0 on what doesn't count."""

    logprobs: Tensor
    values: Tensor
    entropy: Tensor


class ValueHead(nn.Module):
    """A linear layer, 0 to begin with, on hidden states scaled to length 1.

    So scaled, a step of Adam moves a value by no more than the learning rate times sqrt(width), whatever the model.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (positions, width) to values (positions,)."""
        return self.linear(functional.normalize(hidden.float(), dim=-1))[:, 0]


class PPOTrainer(StageTrainer):
    """A step is one round of PPO: an answer to each of its prompts, then epochs x mini-batches updates.

    The last of the updates is transformers' own, so clipping, logs, schedules, checkpoints and callbacks are as for
    any stage. With gradient accumulation the answers to all of a step's batches are one round.
    """

    def __init__(
        self,
        settings: PPOSettings,
        worth: Callable[[Sequence[Any], Sequence[str]], list[float]],
        policy: Policy,
        rows: Sequence[Any],
        tokens: Tokens,
        train: TrainConfig,
        arguments: dict[str, Any],
    ) -> None:
        """``worth`` gives the reward of each row's answer: (rows, texts) -> (rows,)."""
        self.settings, self.worth, self.policy, self.rows = settings, worth, policy, rows
        self.ends = end_tokens(policy)
        width = policy.causal.config.get_text_config().hidden_size
        self.value_head = ValueHead(width).to(policy.device)
        self.kl = maths.KLController(settings.kl_coefficient, settings.kl_target, settings.kl_horizon)
        self.answered = 0  # tokens of all answers so far
        self._gathered: list[Answers] = []
        self._logged: list[dict[str, float]] = []
        _without_dropout(policy.model)
        keep_reference(policy)
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
        # Gradients are averaged here, see `_share_gradients`; torch's wrapper (DDP) would only hold them once more.
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)

    def tokens_after(self, step: int) -> int:
        """The prompts' tokens, and those of all answers so far."""
        return super().tokens_after(step) + self.answered

    # A step

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        model.train()  # which decides whether layers are checkpointed; dropout is off
        answers = self._judged_answers(inputs)
        self._gathered.append(answers)
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)
        gathered, self._gathered = self._gathered, []
        self._whiten(gathered)
        return self._update(gathered)

    def _judged_answers(self, inputs: dict[str, Any]) -> Answers:
        prompts, mask = (
            inputs["input_ids"].to(self.args.device),
            inputs["attention_mask"].to(self.args.device),
        )
        settings = self.settings
        seeded = row_seeds(self.args.seed, self._drawn(len(prompts)), len(prompts))
        answers = sample_answers(
            self.policy,
            prompts,
            mask,
            settings.max_new_tokens,
            settings.min_new_tokens,
            settings.temperature,
            seeded,
        )
        counted = maths.up_to_end(answers, self.ends)
        ids, mask = torch.cat([prompts, answers], 1), torch.cat([mask, counted.to(mask.dtype)], 1)
        with torch.no_grad():
            now = self._in_parts(ids, mask, counted)
        with as_reference(self.policy):
            before = self._in_parts(ids, mask, counted)
        kl = maths.kl_estimate(now.logprobs, before.logprobs, settings.kl_estimator)
        scores = self._scores(inputs["row"], answers, counted)
        rewards = maths.token_rewards(
            self._shaped(scores, answers, counted), kl, counted, self.kl.coefficient
        )
        if settings.whiten_rewards:
            rewards = maths.whiten(rewards, counted, shift_mean=False, everywhere=self._sum_over_workers)
        advantages, returns = maths.advantages(rewards, now.values, counted, settings.gamma, settings.lam)
        mean_kl = self._mean_over_workers((kl * counted).sum(1).mean()).item()
        self._log_later(
            reward=scores.mean(),
            kl=mean_kl,
            kl_coefficient=self.kl.coefficient,
            entropy=(now.entropy * counted).sum() / self._mean_over_workers(counted.sum().float()),
            answer_tokens=counted.sum(1).float().mean(),
        )
        self.kl = self.kl.after(mean_kl, len(ids) * self.args.world_size)
        self.answered += round(self._mean_over_workers(counted.sum().float()).item() * self.args.world_size)
        return Answers(ids, mask, counted, now.logprobs, now.values, advantages, returns)

    def _drawn(self, rows: int) -> int:
        """How many answers all workers have drawn before this worker's next ones, of which there are ``rows``.

        What an answer is drawn by is its number among all of a trial, and so the same however many workers draw.
        """
        args = self.args
        before = self.state.global_step * args.gradient_accumulation_steps + len(self._gathered)
        together = args.per_device_train_batch_size * args.world_size
        return before * together + args.process_index * rows

    def _scores(self, rows: Sequence[int], answers: Tensor, counted: Tensor) -> Tensor:
        tokens = [answer[own].tolist() for answer, own in zip(answers, counted, strict=True)]
        texts = self.policy.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        asked = [self.rows[row] for row in rows]
        found = self.worth(asked, [text.strip() for text in texts])
        return torch.tensor(found, dtype=torch.float32, device=answers.device)

    def _shaped(self, scores: Tensor, answers: Tensor, counted: Tensor) -> Tensor:
        """The scores as they are learned from: (answers,)."""
        last = answers.gather(1, counted.sum(1, keepdim=True) - 1)[:, 0]
        unended = ~torch.isin(last, torch.tensor(self.ends, device=last.device))
        scores = scores - self.settings.missing_eos_penalty * unended
        if not self.settings.normalize_scores:
            return scores
        return maths.normalized(scores, everywhere=self._sum_over_workers)

    def _whiten(self, gathered: list[Answers]) -> None:
        """Advantages to mean 0 and variance 1 over a step's answers."""
        found = torch.cat([answers.advantages[answers.counted] for answers in gathered])
        whitened = maths.whiten(
            found, torch.ones_like(found, dtype=torch.bool), everywhere=self._sum_over_workers
        )
        sizes = [int(answers.counted.sum()) for answers in gathered]
        for answers, own in zip(gathered, whitened.split(sizes), strict=True):
            answers.advantages = torch.zeros_like(answers.advantages)
            answers.advantages[answers.counted] = own

    # Updates

    def _update(self, gathered: list[Answers]) -> Tensor:
        """Makes all updates but the last, whose gradient it leaves behind; gives their mean loss."""
        split = [[answers.part(rows) for rows in self._parts(len(answers))] for answers in gathered]
        most = min(self.settings.mini_batches, max(map(len, gathered)) * self.args.world_size)
        batches = [[parts[number] for parts in split if len(parts[number])] for number in range(most)]
        plan = [place for _ in range(self.settings.epochs) for place in torch.randperm(len(batches)).tolist()]
        optimizer, found = self.optimizer, []
        assert optimizer is not None
        for number, place in enumerate(plan, start=1):
            optimizer.zero_grad()
            found.append(self._gradient(batches[place]))
            if number < len(plan):
                if self.args.max_grad_norm > 0:
                    self._clip_grad_norm(self.model)
                optimizer.step()
        means = {name: torch.stack([each[name] for each in found]).mean() for name in found[0]}
        loss = means.pop("loss")
        self._log_later(**{**means, "ratio": found[0]["ratio"]})  # 1, unless something is wrong
        return loss

    def _gradient(self, batch: list[Answers]) -> dict[str, Tensor]:
        """Adds up the gradient of one mini-batch: means over all of its tokens, those of all workers.

        What it gives is to be averaged over the workers; a worker may have no answer of a mini-batch.
        """
        own = float(sum(answers.counted.sum() for answers in batch))
        total = self._mean_over_workers(torch.tensor(own, device=self.args.device))
        names = ("policy_loss", "value_loss", "clip_fraction", "ratio", "loss")
        sums = dict.fromkeys(names, torch.zeros((), device=self.args.device))
        for answers in batch:
            now = self._judged(answers.ids, answers.mask, answers.counted)
            policy = maths.policy_loss(
                now.logprobs, answers.logprobs, answers.advantages, self.settings.clip_range
            )
            value = maths.value_loss(
                now.values, answers.values, answers.returns, self.settings.value_clip_range
            )
            ratio = (now.logprobs - answers.logprobs).detach().exp()
            outside = ((ratio - 1).abs() > self.settings.clip_range).float()
            parts = {"policy_loss": policy, "value_loss": value, "clip_fraction": outside, "ratio": ratio}
            parts = {name: (each * answers.counted).sum() / total for name, each in parts.items()}
            parts["loss"] = parts["policy_loss"] + self.settings.value_coefficient * parts["value_loss"]
            self.accelerator.backward(parts["loss"])
            sums = {name: sums[name] + parts[name].detach() for name in names}
        self._share_gradients()
        return sums

    def _parts(self, rows: int) -> list[slice]:
        """Which of this worker's ``rows`` each mini-batch has: every so manieth of all workers' rows.

        The same in every epoch, as what was found of them before was found so.
        """
        step, before = self.settings.mini_batches, self.args.process_index * rows
        return [slice((number - before) % step, None, step) for number in range(step)]

    def _in_parts(self, ids: Tensor, mask: Tensor, counted: Tensor) -> Judged:
        """As in the updates, mini-batch by mini-batch: rounding is the same then, and the first ratio is 1."""
        whole = Judged(*(torch.zeros(counted.shape, device=ids.device) for _ in range(3)))
        for rows in self._parts(len(ids)):
            if len(ids[rows]):
                found = self._judged(ids[rows], mask[rows], counted[rows])
                for name, values in vars(found).items():
                    getattr(whole, name)[rows] = values
        return whole

    def _judged(self, ids: Tensor, mask: Tensor, counted: Tensor) -> Judged:
        answers = ids[:, -counted.shape[1] :]
        causal = self.policy.causal
        # Autocast ends before weights change, under the optimizer or for the reference: it keeps casts of them.
        with self.accelerator.autocast():
            hidden = causal.base_model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                use_cache=False,
            ).last_hidden_state
            hidden = hidden[:, -counted.shape[1] - 1 : -1][counted]  # (positions, width), before each token
            logits = head_logits(causal, hidden)
        logits = self._allowed(logits, counted) / self.settings.temperature
        logprobs = logits.log_softmax(-1)  # (positions, vocab)
        chosen = logprobs.gather(1, answers[counted][:, None])[:, 0]
        entropy = torch.special.entr(logprobs.detach().exp()).sum(-1) if not logits.requires_grad else chosen
        places = (chosen, self.value_head(hidden), entropy.detach())
        return Judged(
            *(torch.zeros(counted.shape, device=ids.device).masked_scatter(counted, p) for p in places)
        )

    def _allowed(self, logits: Tensor, counted: Tensor) -> Tensor:
        """The logits (positions, vocab) without an end where an answer can't end yet."""
        if not self.settings.min_new_tokens:
            return logits
        early = (
            torch.arange(counted.shape[1], device=counted.device) < self.settings.min_new_tokens
        ).expand_as(counted)[counted]
        ends = torch.zeros(logits.shape[1], dtype=torch.bool, device=logits.device)
        ends[self.ends] = True
        return logits.masked_fill(early[:, None] & ends, -torch.inf)

    # The value head beside the policy

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        optimizer = super().create_optimizer(model)
        head = list(self.value_head.parameters())
        known = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if id(head[0]) not in known:
            optimizer.add_param_group({"params": head, "weight_decay": 0.0})
        return optimizer

    def _trained(self) -> list[nn.Parameter]:
        trained = [p for p in self.policy.model.parameters() if p.requires_grad]
        return [*trained, *self.value_head.parameters()]

    def _clip_grad_norm(self, model: Any) -> Any:
        return self.accelerator.clip_grad_norm_(self._trained(), self.args.max_grad_norm)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        if grad_norm is None:
            grad_norm = self.accelerator.clip_grad_norm_(self._trained(), float("inf"))
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
        self.kl.coefficient, self.answered = state["kl_coefficient"], state["answered"]

    # Workers and logs

    def _share_gradients(self) -> None:
        """Averages gradients over the workers; the model's own layers are called, not what torch wraps it in."""
        if self.args.world_size > 1:
            for parameter in self._trained():
                # A worker without an answer of the mini-batch has none.
                own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad = self._mean_over_workers(own)

    def _sum_over_workers(self, value: Tensor) -> Tensor:
        return self.accelerator.reduce(value, "sum") if self.args.world_size > 1 else value

    def _mean_over_workers(self, value: Tensor) -> Tensor:
        return self.accelerator.reduce(value, "mean") if self.args.world_size > 1 else value

    def _log_later(self, **values: Any) -> None:
        self._logged.append({name: float(value) for name, value in values.items()})

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs |= self._means()
        super().log(logs, start_time)

    def _means(self) -> dict[str, float]:
        """What was logged since the last time, averaged; over the workers, too."""
        logged, self._logged = self._logged, []
        found = {name: [entry[name] for entry in logged if name in entry] for name in self.settings.logged_metrics}
        means = {name: sum(values) / len(values) for name, values in found.items() if values}
        everywhere = torch.tensor([*means.values()], dtype=torch.float64, device=self.args.device)
        return dict(zip(means, self._mean_over_workers(everywhere).tolist(), strict=True))


class _Prompts(torch.utils.data.Dataset[Any]):
    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return {"input_ids": self.tokens[place].input_ids, "row": int(self.tokens.rows[place])}


class _Collator:
    """Prompts padded on the left, so that all answers begin at one place."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        ids, mask = pad_left([row["input_ids"] for row in rows], self.pad)
        return {"input_ids": ids, "attention_mask": mask, "row": [row["row"] for row in rows]}


def _without_dropout(model: nn.Module) -> None:
    """Has the updates see the policy that the answers came from: with dropout the first ratio wouldn't be 1."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # type: ignore[assignment]
