"""The first step's loss and gradient, and the scores, of every stage by plain transformers: each row alone, without
padding, by the formulas of the papers. Nothing of the project's training or scoring is used to compute them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, set_seed

from tests.helpers.trials import curve, make_config, make_policy, run
from trainables.data import loading
from trainables.models.architecture.reward_model import DecoderWithRewardHead
from trainables.tokenization import batching
from trainables.tokenization.encode import IGNORED, Encoded
from trainables.trial.config import TrialConfig
from trainables.trial.tokenizer import load_tokenizer

STAGES = ("sft", "pretrain", "dpo", "orpo", "simpo", "kto", "reward")
CUTOFF, ROWS = 128, 4
# A gradient below is rounding: a bias of keys, for instance, moves all scores of a query alike.
NO_GRADIENT = 1e-7
# Of so many rows the first batch is as good as of all, and encoding all would take longer than the rest.
SAMPLES = 128
SMALL: dict[str, Any] = {"eval_rows": 6, "cutoff": CUTOFF, "steps": 1, "max_samples": SAMPLES}


@dataclass(frozen=True)
class Differences:
    """How far a trial is from plain transformers: relative differences of the first step's ``loss``, of the norm of its
    ``gradient``, and of the ``scores`` of the test rows by what was saved; ``unchanged``: weights that got a gradient
    and did not change; ``unused``: those that have no gradient in plain transformers either.
    """

    loss: float
    gradient: float
    scores: float
    unchanged: tuple[str, ...]
    unused: tuple[str, ...]
    random: bool


def first_step_difference(
    folder: Path,
    stage: str,
    run_folder: Path,
    attention: str = "eager",
    packing: bool = False,
    precision: str = "fp32",
) -> Differences:
    """Runs a trial of one step, of all weights, and compares it with plain transformers in 32 bits."""
    config = _trial(folder, stage, attention, packing, precision)
    record = run(config, run_folder)
    assert record.status == "done", record.error
    trial = run_folder / "trials" / config.trial_id()
    ((_, loss),), ((_, norm),) = (curve(config, run_folder, name) for name in ("train_loss", "grad_norm"))
    model = PlainReward(config) if stage == "reward" else PlainCausal(folder)
    own = LOSSES[stage](model, *first_batch(config))
    own.backward()  # type: ignore[no-untyped-call]
    gradients = {name: parameter.grad for name, parameter in model.parameters()}
    own_norm = torch.stack([grad.double().norm() for grad in gradients.values() if grad is not None]).norm()
    saved = PlainReward(config, trial / "model") if stage == "reward" else PlainCausal(trial / "model")
    after = dict(saved.parameters())
    used = {
        name for name, grad in gradients.items() if grad is not None and float(grad.abs().max()) > NO_GRADIENT
    }
    return Differences(
        loss=_relative(loss, own.item()),
        gradient=_relative(norm, own_norm.item()),
        scores=_score_difference(config, saved, trial, record.metrics),
        unchanged=tuple(
            name for name, p in model.parameters() if name in used and torch.equal(p, after[name])
        ),
        unused=tuple(name for name, _ in model.parameters() if name not in used),
        random=_is_random(saved.model),
    )


def _trial(folder: Path, stage: str, attention: str, packing: bool, precision: str) -> TrialConfig:
    more: dict[str, Any] = {"packing": True} if packing else {}
    more |= {"precision": precision, "dtype": "float32" if precision == "fp32" else "bfloat16"}
    config = make_config(folder, "commands", "full", stage={"kind": stage}, **SMALL, **more)
    return config.model_copy(update={"model": config.model.model_copy(update={"attention": attention})})


def first_batch(config: TrialConfig) -> tuple[list[Encoded], list[bool]]:
    """The examples of the first step, of pairs the chosen and the rejected answer by turns, and labels of the rows."""
    rows = loading.load(config.data, config.stage.row_type).train
    assert config.model.path is not None
    tokens = config.stage.tokens(load_tokenizer(config.model.path), rows, CUTOFF)
    answers = config.stage.examples_per_row
    if config.train.packing:
        packs = batching.pack_examples(tokens.lengths, CUTOFF, ROWS, config.train.seed)
        return [tokens[int(place)] for pack in packs for place in pack], []
    lengths = tokens.lengths.reshape(-1, answers).max(1)
    order = batching.example_order(lengths, ROWS, **config.train.batching())
    examples = [tokens[int(answers * place + number)] for place in order for number in range(answers)]
    # A long text is several examples.
    numbers = (int(tokens.rows[answers * place]) for place in order)
    return examples, [getattr(rows[number], "label", True) for number in numbers]


# Models of plain transformers


class PlainCausal:
    """A model that predicts tokens."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()

    def logprobs(self, row: Encoded, labels: Sequence[int] | None = None) -> Tensor:
        """ln p of each labelled token but the first, by the row alone: (labelled,)."""
        ids = torch.tensor([row.input_ids])
        logits = self.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
        targets = torch.tensor(row.labels if labels is None else labels)[1:]
        counted = targets != IGNORED
        # In 64 bits from here on: what is compared are the model's logits.
        logprobs = logits[0, :-1][counted].double().log_softmax(-1)
        return logprobs.gather(1, targets[counted][:, None])[:, 0]


class PlainReward:
    """A model that rewards texts, with the new head that a trial of ``config`` begins with, or a saved one.

    Of transformers' own class where the family has one, else the family's decoder with the head on it.
    """

    def __init__(self, config: TrialConfig, folder: Path | None = None) -> None:
        set_seed(config.train.seed)
        policy = make_policy(config)
        self.model, self.tokenizer = policy.causal.eval(), policy.tokenizer
        if folder is not None:
            self.model = type(self.model).from_pretrained(folder, attn_implementation="eager").eval()

    def parameters(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.named_parameters()

    def reward(self, row: Encoded) -> Tensor:
        """The head's output at the text's last token: ()."""
        ids = torch.tensor([row.input_ids])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "use_cache": False}
        if not isinstance(self.model, DecoderWithRewardHead):
            return self.model(**inputs).logits[0, 0]
        head: Any = self.model.score
        return self.model.base_model(**inputs).last_hidden_state[0, -1].float() @ head.weight[0].float()


# Losses, each a scalar of a batch


def _likelihood(model: PlainCausal, examples: Sequence[Encoded], labels: Sequence[bool]) -> Tensor:
    """Nats per labelled token, over all tokens of the batch."""
    return -torch.cat([model.logprobs(row) for row in examples]).mean()


def _dpo(model: PlainCausal, examples: Sequence[Encoded], labels: Sequence[bool]) -> Tensor:
    """-ln sigmoid(0.1 (ln pi/ref (chosen) - ln pi/ref (rejected))) (Rafailov et al., 2023, arXiv:2305.18290, 7)."""
    ratios = _log_ratios(model, examples)
    return -functional.logsigmoid(0.1 * (ratios[0::2] - ratios[1::2])).mean()


def _kto(model: PlainCausal, examples: Sequence[Encoded], labels: Sequence[bool]) -> Tensor:
    """1 - sigmoid(0.1 (ln pi/ref - KL)) of good answers, and with the other sign of bad ones (Ethayarajh et al., 2024,
    arXiv:2402.01306, 8). In the first step the policy is the reference, so that the KL is 0.
    """
    signs = torch.tensor([1.0 if label else -1.0 for label in labels])
    return (1 - torch.sigmoid(0.1 * signs * _log_ratios(model, examples))).mean()


def _log_ratios(model: PlainCausal, examples: Sequence[Encoded]) -> Tensor:
    """ln pi/ref of each answer, where the reference is the policy as it is: (answers,), all 0, with a gradient."""
    sums = torch.stack([model.logprobs(row).sum() for row in examples])
    return sums - sums.detach()


def _orpo(model: PlainCausal, examples: Sequence[Encoded], labels: Sequence[bool]) -> Tensor:
    """Hong et al., 2024, arXiv:2403.07691, equations 3 to 7, lambda 0.1: the likelihood of prompt and chosen answer,
    and the log of the odds ratio of both answers' mean probabilities.
    """
    whole = torch.cat([model.logprobs(row, row.input_ids) for row in examples[0::2]])
    means = torch.stack([model.logprobs(row).mean() for row in examples])
    odds = means - torch.log1p(-means.exp())
    return -whole.mean() - 0.1 * functional.logsigmoid(odds[0::2] - odds[1::2]).mean()


def _simpo(model: PlainCausal, examples: Sequence[Encoded], labels: Sequence[bool]) -> Tensor:
    """-ln sigmoid(2 (mean ln p of chosen - of rejected) - 1) (Meng et al., 2024, arXiv:2405.14734, equation 6)."""
    means = torch.stack([model.logprobs(row).mean() for row in examples])
    return -functional.logsigmoid(2 * (means[0::2] - means[1::2]) - 1).mean()


def _reward(model: PlainReward, examples: Sequence[Encoded], labels: Sequence[bool]) -> Tensor:
    """-ln sigmoid(r(chosen) - r(rejected)) (Ouyang et al., 2022, arXiv:2203.02155, equation 1)."""
    rewards = torch.stack([model.reward(row) for row in examples])
    return -functional.logsigmoid(rewards[0::2] - rewards[1::2]).mean()


LOSSES: dict[str, Callable[..., Tensor]] = {
    "sft": _likelihood,
    "pretrain": _likelihood,
    "dpo": _dpo,
    "orpo": _orpo,
    "simpo": _simpo,
    "kto": _kto,
    "reward": _reward,
}


# Scores


def _score_difference(config: TrialConfig, model: Any, trial: Path, metrics: dict[str, float]) -> float:
    """The largest relative difference of a score: of the loss over all test rows, or of one answer of them."""
    rows = loading.load(config.data, config.stage.row_type).test
    tokenizer = model.tokenizer if isinstance(model, PlainReward) else load_tokenizer(trial / "model")
    examples = list(config.stage.tokens(tokenizer, rows, CUTOFF, scoring=True))
    with torch.no_grad():
        if isinstance(model, PlainReward):
            own = torch.stack([model.reward(row) for row in examples]).double()
        elif config.stage.kind in ("sft", "pretrain"):
            own = -torch.cat([model.logprobs(row) for row in examples]).mean()[None]
        else:
            own = torch.stack([model.logprobs(row).mean() for row in examples])
    found = torch.tensor(_scores(config, trial) or [metrics["loss"]], dtype=torch.float64)
    return float((found - own).abs().max() / own.abs().max())


def _scores(config: TrialConfig, trial: Path) -> list[float]:
    """The score of each answer of the test rows as the trial recorded it: ln p per token, or a reward."""
    columns = pq.read_table(trial / "predictions.parquet").to_pydict()
    if config.stage.examples_per_row == 2:
        pairs = zip(columns["good_worth"], columns["bad_worth"], strict=True)
        return [score for pair in pairs for score in pair]
    return list(columns["score"]) if config.stage.kind == "kto" else []


@torch.no_grad()
def _is_random(model: Any) -> bool:
    """Whether two passes in training mode differ where only the seed does."""
    model.train()
    passes = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        passes.append(model(input_ids=torch.arange(40)[None], use_cache=False).logits)
    model.eval()
    return not torch.equal(*passes)


def _relative(found: float, own: float) -> float:
    return abs(found - own) / abs(own)
