"""What a family of models must do to count as right, column by column of the matrix of families.

Each check plans a trial as ``paretune plan`` does, runs it in this process, and compares what it computed with plain
transformers.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from sweeps.planning import plan
from sweeps.planning.cell import Cell
from sweeps.spec.spec import read
from tests.helpers import plain_losses
from tests.helpers.family_sizes import LAYERS, NOT_MADE
from tests.helpers.model_families import make_family
from tests.helpers.trials import write_rows
from trainables.config.model import ModelConfig
from trainables.export.export import export
from trainables.export.exported import ExportOptions
from trainables.inference.generator import Generator
from trainables.inference.model_pool import ModelPool
from trainables.inference.prompts import prompt_tokens
from trainables.inference.result import base_model_result, trial_result
from trainables.inference.sampling import Sampling
from trainables.models.folder import ModelError
from trainables.models.precision import choose_dtypes
from trainables.results import Record, read_curve
from trainables.runner.run import TrialContext, run_trial
from trainables.trial.config import TrialConfig
from trainables.trial.loading import load_base

SPEC = """\
name: family
question: Does it train?
model: {path: %s, dtype: float32}
data: {train: rows.jsonl, eval_fraction: 0.25, cutoff: 128}
stages: [{kind: sft}]
methods: [{kind: full}]
train: {steps: 1, batch_size: 4, learning_rate: 1.0e-2, precision: fp32}
search: {trials: 1, scheduler: none}
tracking: {wandb: off}
"""
# Largest relative differences of losses: in 32 bits; of 4-bit weights as they are, in another order of sums; of 8-bit
# ones, whose inputs are rounded too.
SAME, ROUNDED = 1e-5, {4: 2e-4, 8: 5e-2}
SAME_LOGITS, SAME_GRADIENT, SAME_COUNT = 1e-4, 1e-3, 0.05
QUESTIONS = ("wake me at 7", "play some jazz in the kitchen, and turn the lights down")
ANSWER = 12  # tokens
PREDICTION = "sweeps.planning.checks.cell.predict_cell_memory"
# Errors that trials raise on purpose, for what only the loaded model shows.
REFUSALS = ("ModelError", "QuantizationFailed", "TemplateError")


class Refused(Exception):  # noqa: N818
    """The plan refuses; says why."""


class RefusedLate(Exception):  # noqa: N818
    """The trial refuses in words, when it has loaded the model."""


class Wrong(Exception):  # noqa: N818
    """A trial finished, and is not what it should be."""


class Crashed(Exception):  # noqa: N818
    """A trial failed with an error that nobody raised on purpose."""


class Unknown(Exception):  # noqa: N818
    """What was asked for is not known, and the product says so."""


class NotTried(Exception):  # noqa: N818
    """There is nothing to try; says why."""


@dataclass
class Family:
    """A model type, and a ``folder`` for its model and its trials."""

    kind: str
    folder: Path
    _trials: dict[str, tuple[TrialConfig, Record]] = field(default_factory=dict)

    @cached_property
    def model(self) -> Path:
        if self.kind in NOT_MADE:
            raise NotTried(NOT_MADE[self.kind])
        return make_family(self.folder / self.kind, self.kind)

    def cell(self, *changes: str, memory: bool = False) -> Cell:
        """The cell of the family's spec with these changes. Its ``memory`` is predicted only where it is asked for, as
        that takes longer than all else. Raises :class:`Refused`.
        """
        path = self.folder / "spec.yaml"
        path.write_text(SPEC % self.model)
        write_rows(self.folder / "rows.jsonl")
        with nullcontext() if memory else patch(PREDICTION, lambda *_: None):
            made = plan.make(read(path, [*changes]))
        if made.errors:
            raise Refused(made.errors[0].what)
        (cell,) = made.cells
        return cell

    def run(self, *changes: str) -> tuple[TrialConfig, Record]:
        """The trial that the plan has for these changes, and its record; runs once. Raises :class:`Refused`,
        :class:`Crashed`.
        """
        key = " ".join(changes)
        if key not in self._trials:
            config = self.cell(*changes).suggested()
            self._trials[key] = config, run_trial(config, TrialContext(self.folder / "run"))
        config, record = self._trials[key]
        if record.status != "done":
            refused = str(record.error).partition(":")[0] in REFUSALS
            raise (RefusedLate if refused else Crashed)(str(record.error).removeprefix("ModelError: "))
        return config, record

    def trial_folder(self, config: TrialConfig) -> Path:
        return self.folder / "run" / "trials" / config.trial_id()

    def first_loss(self, config: TrialConfig) -> float:
        points = read_curve(self.trial_folder(config))
        return next(point["value"] for point in points if point["name"] == "train_loss")

    @cached_property
    def plain_loss(self) -> float:
        """The first step's loss of ``sft`` by plain transformers."""
        return self.loss_of(plain_losses.PlainCausal(self.model))

    def loss_of(self, model: Any) -> float:
        config = self.cell().suggested()
        with torch.no_grad():
            return float(plain_losses.LOSSES["sft"](model, *plain_losses.first_batch(config)))

    def require_loss(self, config: TrialConfig, expected: float, tolerance: float = SAME) -> None:
        found = self.first_loss(config)
        if not abs(found - expected) <= tolerance * abs(expected):
            raise Wrong(f"first loss {found:.6g}, plain transformers' {expected:.6g}")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def first_step(
    family: Family, stage: str, attention: str = "eager", packing: bool = False
) -> plain_losses.Differences:
    """The first step of all weights beside plain transformers'. Raises :class:`Refused`, :class:`RefusedLate`,
    :class:`Crashed`.
    """
    rows = ["data.train=commands", f"data.max_samples={plain_losses.SAMPLES}"]
    changes = [f"stages=[{{kind: {stage}}}]", *rows, f"model.attention={attention}"]
    family.cell(*changes, *(["train.packing=true"] if packing else []))
    run = family.folder / f"{stage}-{attention}-{packing}"
    try:
        return plain_losses.first_step_difference(family.model, stage, run, attention, packing)
    except AssertionError:
        raise _failure(run) from None


def require_same(found: plain_losses.Differences) -> None:
    """Raises :class:`Wrong` where loss, gradient, scores or the weights that change are not plain transformers'."""
    if not found.loss <= SAME:
        raise Wrong(f"first loss differs by {found.loss:.1e}")
    if not found.gradient <= SAME_GRADIENT:
        raise Wrong(f"gradient differs by {found.gradient:.1e}")
    if not found.scores <= SAME:
        raise Wrong(f"scores differ by {found.scores:.1e}")
    if found.unchanged:
        raise Wrong(f"{len(found.unchanged)} weights don't train: {found.unchanged[0]}")


def _failure(run: Path) -> Exception:
    """Why the trial in a run folder failed."""
    texts = [path.read_text() for path in run.glob("trials/*/error.txt")]
    if not texts:
        return Crashed("no error.txt")
    last = [line for line in texts[0].splitlines() if line and not line.startswith(" ")][-1]
    last = re.sub(r"^[\w.]*\.(?=\w+: )", "", last)  # the error's module
    # Only the loaded model shows whether its rows stay apart.
    if any(name in last for name in REFUSALS) or "can't keep packed rows apart" in last:
        return RefusedLate(last.removeprefix("ModelError: ").removeprefix("ValueError: "))
    return Crashed(last)


def full(family: Family) -> None:
    require_same(first_step(family, "sft"))


def dpo(family: Family) -> None:
    require_same(first_step(family, "dpo"))


def reward(family: Family) -> None:
    require_same(first_step(family, "reward"))


def packing(family: Family) -> None:
    require_same(first_step(family, "sft", packing=True))


def freeze(family: Family) -> None:
    config, record = family.run("methods=[{kind: freeze, layers: 1}]")
    family.require_loss(config, family.plain_loss)
    before, after = (
        dict(plain_losses.PlainCausal(folder).parameters())
        for folder in (family.model, family.trial_folder(config) / "model")
    )
    changed = [name for name, weight in before.items() if not torch.equal(weight, after[name])]
    others = [name for name in changed if set(name.split(".")) & set(map(str, range(LAYERS - 1)))]
    if not changed:
        raise Wrong("no weight changes")
    if len(others) == len(changed):
        raise Wrong(f"another layer trains: {others[0]}")
    if not record.trainable_params or record.trainable_params >= (record.total_params or 0):
        raise Wrong(f"{record.trainable_params} of {record.total_params} weights train")


def lora(family: Family) -> None:
    config, _ = family.run("methods=[{kind: lora, rank: 4}]")
    family.require_loss(config, family.plain_loss)
    _require_trained_adapter(family.trial_folder(config) / "model")


def _require_trained_adapter(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    ends = {name: weight for name, weight in weights.items() if "lora_B" in name}
    still = [name for name, weight in ends.items() if not weight.any()]
    if not ends or len(still) * 2 > len(ends):
        raise Wrong(f"{len(still)} of {len(ends)} adapters don't train")


def four_bits(family: Family) -> None:
    _quantized(family, 4)


def eight_bits(family: Family) -> None:
    _quantized(family, 8)


def _quantized(family: Family, bits: int) -> None:
    config, record = family.run(f"methods=[{{kind: qlora, rank: 4, bits: {bits}}}]")
    if not record.quantized_layers:
        raise Wrong("no layer is quantized")
    family.require_loss(config, family.loss_of(_dequantized(config)), ROUNDED[bits])
    _require_trained_adapter(family.trial_folder(config) / "model")


def _dequantized(config: TrialConfig) -> Any:
    """A plain model with the values of the quantized weights that a trial of ``config`` has."""
    assert config.model.path is not None
    plain = plain_losses.PlainCausal(config.model.path)
    quantized = load_base(config, config.model.path)
    assert config.method is not None
    config.method.prepare(quantized, choose_dtypes(config.train.precision, config.model.dtype))
    for name, weight in quantized.named_parameters():
        if (values := _values(weight)) is not None:
            owner, _, key = name.rpartition(".")
            module = plain.model.get_submodule(owner)
            # GPT-2's layers keep their weights the other way round.
            values = values.T if type(module).__name__ == "Conv1D" else values
            getattr(module, key).data = values.float().contiguous()
    return plain


def _values(weight: Any) -> Tensor | None:
    """The values of a weight that bitsandbytes has quantized; ``None`` for others."""
    import bitsandbytes
    from bitsandbytes.functional import dequantize_4bit, int8_vectorwise_dequant

    if isinstance(weight, bitsandbytes.nn.Params4bit):
        return dequantize_4bit(weight.data, weight.quant_state)
    if isinstance(weight, bitsandbytes.nn.Int8Params):
        return int8_vectorwise_dequant(weight.data, weight.SCB)
    return None


def exported(family: Family) -> None:
    """The merged model of a LoRA, or what ``full`` trained where there is none, gives the trial's logits."""
    try:
        config, _ = family.run("methods=[{kind: lora, rank: 4}]")
    except (Refused, RefusedLate):
        config, _ = family.run()
    result = trial_result(family.trial_folder(config))
    out = family.folder / "out"
    export(result, out, ExportOptions(), lambda _: None, lambda *_: (0.0, 1.0))
    pool = ModelPool().load(result)
    ids = torch.tensor([prompt_tokens(pool, [{"role": "user", "content": QUESTIONS[1]}])])
    with torch.no_grad():
        plain = AutoModelForCausalLM.from_pretrained(
            out, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        found = plain(input_ids=ids, use_cache=False).logits
        base = plain_losses.PlainCausal(family.model).model(input_ids=ids, use_cache=False).logits
        with pool.active() as policy:
            expected = policy.causal(input_ids=ids, use_cache=False).logits
    _require_close("the exported model's logits", found, expected)
    if torch.allclose(base, expected, rtol=1e-4):
        raise Wrong("training changed no logits")


def _require_close(what: str, found: Tensor, expected: Tensor) -> None:
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference <= SAME_LOGITS:
        raise Wrong(f"{what} differ by {difference:.1e}")


def chat(family: Family) -> None:
    """Greedy answers, two at a time, have the tokens that recomputing everything for each token gives."""
    family.cell()
    loaded = ModelPool().load(base_model_result(ModelConfig(path=family.model, dtype="float32")))
    prompts = [prompt_tokens(loaded, [{"role": "user", "content": question}]) for question in QUESTIONS]
    generator = Generator()
    answers = [generator.submit(loaded, prompt, Sampling(max_new_tokens=ANSWER)) for prompt in prompts]
    while generator.busy:
        generator.step()
    plain = plain_losses.PlainCausal(family.model).model
    for prompt, answer in zip(prompts, answers, strict=True):
        if answer.failure is not None:
            raise Crashed(f"{type(answer.failure).__name__}: {answer.failure}")
        ids = list(prompt)
        for place, token in enumerate(answer.tokens):
            with torch.no_grad():
                logits = plain(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            if float(logits.max() - logits[token]) > SAME_LOGITS * float(logits.abs().max()):
                raise Wrong(f"token {place + 1} of an answer is not the most likely one")
            ids.append(token)


def memory(family: Family) -> None:
    """The plan counts the weights that the model has."""
    cell = family.cell(memory=True)
    predicted = cell.predicted
    if predicted is None:
        raise Unknown(str(cell.not_predicted))
    actual = sum(weight.numel() for _, weight in plain_losses.PlainCausal(family.model).parameters())
    counted = predicted.largest.prediction.weights / 4
    if abs(counted - actual) > SAME_COUNT * actual:
        raise Wrong(f"{counted:,.0f} weights predicted, {actual:,} there")


CHECKS: dict[str, Callable[[Family], None]] = {
    "full": full,
    "freeze": freeze,
    "lora": lora,
    "4-bit": four_bits,
    "8-bit": eight_bits,
    "dpo": dpo,
    "reward": reward,
    "packing": packing,
    "export": exported,
    "chat": chat,
    "memory": memory,
}


def outcome(family: Family, column: str) -> str:
    """What :func:`outcome_of` says of a column's check."""
    return outcome_of(lambda: CHECKS[column](family))


def outcome_of(check: Callable[[], None]) -> str:
    """``ok``, or what happened and why: ``refused: ...`` by the plan, ``late: ...`` by the trial, ``unknown: ...``,
    ``not tried: ...``, ``wrong: ...``, ``crash: ...``.
    """
    try:
        check()
    except Refused as error:
        return f"refused: {error}"
    except (RefusedLate, ModelError) as error:
        return f"late: {error}"
    except Unknown as error:
        return f"unknown: {error}"
    except NotTried as error:
        return f"not tried: {error}"
    except Wrong as error:
        return f"wrong: {error}"
    except Crashed as error:
        return f"crash: {error}"
    except Exception as error:
        return f"crash: {type(error).__name__}: {error}"
    return "ok"
