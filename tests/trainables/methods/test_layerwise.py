"""LISA and BAdam: all weights train, a few layers at a time, and a resumed trial trains the same ones."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.trials import ScriptedControl, curve, make_config, make_policy, run, write_rows
from trainables.memory.measurement import measure
from trainables.memory.prediction import predict
from trainables.methods import LISA, BAdam
from trainables.models.architecture.decoder_shape import from_config
from trainables.stages.forward_pass import RowLength
from trainables.training.reference_policy import keep_reference, reference_bytes
from trainables.trial.worker_limits import sharing_problems

METHODS: dict[str, dict[str, Any]] = {
    "lisa": {"kind": "lisa", "layers": 1, "every": 3},
    "badam": {"kind": "badam", "every": 2, "ends": True},
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


@pytest.mark.parametrize("name", METHODS)
def test_layers_change_and_a_resumed_trial_trains_the_same_ones(
    tiny_model: Path, rows: Path, tmp_path: Path, name: str
) -> None:
    config = make_config(tiny_model, rows, METHODS[name], steps=7, learning_rate=1e-2, eval_steps=2)
    whole = run(config, tmp_path / "whole")
    losses = curve(config, tmp_path / "whole")
    assert losses[-1][1] < losses[0][1] - 0.01
    # Within a period, and where one has just ended.
    for step in (2, 4):
        folder = tmp_path / f"resumed{step}"
        assert run(config, folder, control=ScriptedControl(interrupt_at=step)).status == "interrupted"
        again = run(config, folder)
        assert curve(config, folder) == losses
        assert (again.objective, again.quality) == (whole.objective, whole.quality)
    start = load_file(tiny_model / "model.safetensors")
    end = load_file(tmp_path / "whole" / "trials" / config.trial_id() / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in end.values()} == {torch.bfloat16}
    changed = {
        key.split(".")[2] for key in start if ".layers." in key and not torch.equal(start[key], end[key])
    }
    periods = range(3 if name == "lisa" else 4)
    method = config.method
    assert isinstance(method, LISA | BAdam)
    assert changed == {
        str(n) for period in periods for n in method.active_layers(4, period, config.train.seed)
    }
    assert whole.trainable_params == sum(tensor.numel() for tensor in start.values())


def test_the_state_is_that_of_the_layers_that_train(tiny_model: Path, rows: Path) -> None:
    shape = from_config(json.loads((tiny_model / "config.json").read_text()))
    for method in (METHODS["lisa"], {"kind": "badam", "every": 1, "order": "ascending"}):
        config = make_config(tiny_model, rows, method)
        assert config.method is not None
        tensors = list(config.method.footprint(shape).trained_tensors(shape))
        found = measure(config)
        predicted = config.train.optimizer_settings.state_bytes(tensors, 4)
        assert found.optimizer_bytes == predicted + 4 * sum(tensor.count for tensor in tensors)
        assert found.gradient_bytes == predicted / 2


def test_ppo_keeps_a_copy_of_all_that_ever_trains(tiny_model: Path) -> None:
    shape = from_config(json.loads((tiny_model / "config.json").read_text()))
    for method in (*METHODS.values(), {"kind": "badam"}):
        config = make_config(
            tiny_model, "commands", method, stage={"kind": "ppo", "reward": "commands"}, cutoff=80
        )
        assert config.method is not None
        policy = make_policy(config)
        keep_reference(policy)
        batch = config.stage.forward_pass(4, RowLength(80))
        assert batch is not None
        predicted = predict(config, shape, batch, "cpu", "eager").reference
        kept = reference_bytes(policy)
        assert kept is not None
        # Beside it, at some moments, the weights of one period cast to the dtype that they train in.
        trained = config.method.footprint(shape).trained_params(shape)
        assert kept <= predicted <= kept + 4 * trained


def test_badam_trains_each_block_once_in_a_round_and_lisa_draws_with_the_seed() -> None:
    for order in ("random", "ascending", "descending"):
        method = BAdam(layers=2, order=order, ends=True)
        turns = [tuple(method.active_layers(5, period, seed=1)) for period in range(8)]
        assert sorted(turns[:4]) == sorted(turns[4:]) == [(), (0, 1), (2, 3), (4,)]
        assert [method.ends_train(5, period) for period in range(4)] == [False, False, False, True]
    lisa = LISA(layers=2)
    drawn = [tuple(lisa.active_layers(8, period, seed=1)) for period in range(50)]
    assert drawn == [tuple(lisa.active_layers(8, period, seed=1)) for period in range(50)]
    assert drawn != [tuple(lisa.active_layers(8, period, seed=2)) for period in range(50)]
    assert {layer for layers in drawn for layer in layers} == set(range(8))
    assert all(len(set(layers)) == 2 for layers in drawn)


def test_several_workers_are_refused(tiny_model: Path, rows: Path) -> None:
    config = make_config(tiny_model, rows, METHODS["badam"])
    assert [(path, error) for path, _, error in sharing_problems(config, 2)] == [
        (("resources", "workers"), True)
    ]
    assert not list(sharing_problems(config, 1))


@pytest.mark.parametrize("ends", [False, True])  # which are smaller than a layer here
def test_memory_is_measured_where_a_trial_takes_the_most(tiny_model: Path, rows: Path, ends: bool) -> None:
    config = make_config(tiny_model, rows, {"kind": "badam", "ends": ends, "order": "descending"})
    policy = make_policy(config)
    assert policy.method is not None
    (switch,) = policy.method.heaviest_callbacks(policy.model, policy.dtypes, config.train.seed)
    optimizer = torch.optim.SGD(policy.model.parameters(), 0.1)
    switch.on_step_begin(None, SimpleNamespace(global_step=0), None, model=policy.model, optimizer=optimizer)
    found = {name for name, parameter in policy.model.named_parameters() if parameter.requires_grad}
    assert found == {name for name, _ in policy.model.named_parameters() if ".layers.0." in f".{name}"}
