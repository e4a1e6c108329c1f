"""What an optimizer's step takes for a moment beside weights, gradients and state, by torch's record of allocations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from tests.helpers.tiny_model import make_model, make_tokenizer
from tests.helpers.trials import make_config, make_policy, write_rows
from trainables.data import loading
from trainables.methods.base import FineTuning
from trainables.models.architecture import decoder_shape
from trainables.training.optimizers.build import use_optimizer
from trainables.training.optimizers.lomo import Lomo
from trainables.training.trainer_setup import training_arguments
from trainables.trial.config import TrialConfig

FREEZE = {"kind": "freeze", "layers": 2}
# Of the same function that torch compiles, or of one that is quick anyway.
QUICK = ("adamw", "adafactor", "schedule_free", "galore", "apollo", "sgd")


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its embedding is much larger than its layers, whose matrices have more columns than rows."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    folder = make_model(tmp_path_factory.mktemp("wide"), hidden=128, layers=2)
    config = LlamaConfig.from_pretrained(folder)
    config.vocab_size = 4096
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


class _StepProfile:
    """A trainer's callback that keeps the most bytes that its second update allocates and doesn't keep."""

    def __init__(self) -> None:
        from transformers import TrainerCallback

        outer, self.peak, self._count = self, 0, 0

        class Callback(TrainerCallback):
            def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
                outer._count += 1
                if outer._count == 2:
                    outer._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
                    outer._profile.__enter__()

            def on_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
                if outer._count == 2:
                    outer._profile.__exit__(None, None, None)
                    outer.peak = most_allocated(outer._profile)

        self.callback = Callback()


def most_allocated(profiled: Any) -> int:
    """The highest sum of what was allocated and freed while a profile was taken, in bytes."""
    events = [each for each in profiled.profiler.kineto_results.events() if each.name() == "[memory]"]
    live = highest = 0
    for event in sorted(events, key=lambda each: each.start_ns()):
        live += event.nbytes()
        highest = max(highest, live)
    return highest


def config_of(model: Path, folder: Path, method: dict[str, Any], **train: Any) -> TrialConfig:
    dtype = "float32" if train["precision"] == "fp32" else "bfloat16"
    return make_config(model, write_rows(folder / "rows.jsonl"), method, dtype=dtype, **train)


def measured(config: TrialConfig) -> int:
    policy, found = make_policy(config), _StepProfile()
    rows = loading.load(config.data, config.stage.row_type).train[:8]
    options = training_arguments(config.train, 2, Path("/nonexistent"), workers=1, device="cpu")
    trainer: Any = config.stage.trainer(policy, rows, config.train, 64, options | {"save_strategy": "no"})
    use_optimizer(trainer, policy, config.train)
    trainer.add_callback(found.callback)
    trainer.train()
    return found.peak


def predicted(config: TrialConfig, model: Path) -> int:
    from trainables.models.folder import read_architecture

    assert isinstance(config.method, FineTuning)
    shape = decoder_shape.from_config(read_architecture(model).config)
    tensors = config.method.footprint(shape).trained_tensors(shape)
    width = 4 if config.train.precision == "fp32" else 2
    return config.train.optimizer_settings.update_bytes(tensors, width, "cpu", config.train)


def cases() -> list[Any]:
    own = [{"kind": kind, "rank": 32, "update_every": 1} for kind in ("galore", "apollo")]
    eight = [{"kind": kind, "bits": 8} for kind in ("adamw", "lion", "ademamix")]
    plain = ("adamw", "sgd", "adafactor", "lion", "ademamix", "schedule_free", "stable_adamw")
    whole = [({"kind": "full"}, {"kind": kind}) for kind in plain] + [
        ({"kind": "full"}, each) for each in own
    ]
    # The embedding's state has 32 bits, and it is no matrix to Muon.
    layers = [(FREEZE, each) for each in (*eight, {"kind": "muon"}, {"kind": "sgd"})]
    return [
        pytest.param(
            method,
            optimizer,
            precision,
            id=f"{method['kind']}-{optimizer['kind']}-{optimizer.get('bits', '')}-{precision}",
            marks=() if optimizer["kind"] in QUICK and precision == "fp32" and "bits" not in optimizer
            else pytest.mark.slow,
        )
        for method, optimizer in (*whole, *layers, ({"kind": "full"}, {"kind": "adamw", "bits": 4}))
        for precision in ("fp32", "pure_bf16")
    ]  # fmt: skip


@pytest.mark.parametrize(("method", "optimizer", "precision"), cases())
def test_an_update_takes_the_predicted_bytes_for_a_moment(
    wide_model: Path,
    tmp_path: Path,
    method: dict[str, Any],
    optimizer: dict[str, Any],
    precision: str,
) -> None:
    config = config_of(
        wide_model, tmp_path, method, optimizer=optimizer, precision=precision, weight_decay=0.01
    )
    # Vectors, and numbers of a few bytes.
    assert measured(config) == pytest.approx(predicted(config, wide_model), rel=0.1, abs=20_000)


def test_descent_without_decay_takes_nothing_more(wide_model: Path, tmp_path: Path) -> None:
    config = config_of(wide_model, tmp_path, {"kind": "full"}, optimizer="sgd", precision="fp32")
    assert predicted(config, wide_model) == 0
    assert measured(config) < 1000


@pytest.mark.parametrize(("dtype", "width"), [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize("kind", ["lomo", "adalomo"])
def test_an_update_in_the_backward_pass_takes_one_matrix_at_most(
    kind: str, dtype: torch.dtype, width: int
) -> None:
    from trainables.config.optimizers import NAMED, TrainedTensor

    parameter = torch.nn.Parameter(torch.randn(256, 128, dtype=dtype))
    optimizer = Lomo([{"params": [parameter]}], 0.1, adaptive=kind == "adalomo")
    for _ in range(2):  # the state is there the second time
        parameter.grad = torch.randn_like(parameter)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            optimizer._update(0, parameter)
    tensor = TrainedTensor((256, 128))
    expected = NAMED[kind].update_bytes([tensor], width, "cpu", make_config(Path("/m"), "rows.jsonl").train)
    assert most_allocated(profiled) == pytest.approx(expected, rel=0.25, abs=5000)
