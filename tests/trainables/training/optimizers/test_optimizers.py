"""Every optimizer: it trains all weights, resumes bit for bit, and its state has the predicted bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from tests.helpers.trials import ScriptedControl, curve, make_config, planned_config, run, write_rows
from trainables.config.optimizers import KINDS
from trainables.memory.measurement import measure
from trainables.models.architecture.decoder_shape import from_config
from trainables.models.folder import ModelError
from trainables.system import capabilities
from trainables.trial.config import TrialConfig
from trainables.trial.optimizer_limits import optimizer_problems
from trainables.trial.starting_weights import find_trained_model
from trainables.trial.worker_limits import sharing_problems

# Settings that a tiny model needs, whose matrices have 32 rows or columns and more.
SETTINGS: dict[str, dict[str, Any]] = {
    "galore": {"rank": 8, "update_every": 3},
    "apollo": {"rank": 8, "update_every": 3},
    "apollo_mini": {"update_every": 3},
    "lion": {"beta2": 0.95},
    "sgd": {"momentum": 0.5},
}
RATES = {"sgd": 0.1, "lomo": 0.1, "adalomo": 0.05, "lion": 1e-3}
FOUR_BIT = {"kind": "adamw", "bits": 4}
MORE = [
    FOUR_BIT,
    {"kind": "lion", "bits": 8},
    {"kind": "ademamix", "bits": 8},
    {"kind": "adamw", "beta2": 0.95},
]
OPTIMIZERS = [{"kind": kind, **SETTINGS.get(kind, {})} for kind in KINDS]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl")


def name(settings: dict[str, Any]) -> str:
    return "-".join(map(str, settings.values()))


def config_of(model: Path, rows: Path, settings: dict[str, Any], **leaves: Any) -> TrialConfig:
    kind = settings["kind"]
    leaves = {"learning_rate": RATES.get(kind, 1e-2), "max_grad_norm": None, "steps": 5, **leaves}
    return make_config(model, rows, "full", optimizer=settings, **leaves)


@pytest.mark.parametrize("settings", [*OPTIMIZERS, FOUR_BIT], ids=name)
def test_every_optimizer_trains_and_resumes_exactly(
    tiny_model: Path, rows: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    config = config_of(tiny_model, rows, settings, eval_steps=2)
    whole = run(config, tmp_path / "whole")
    losses = curve(config, tmp_path / "whole")
    assert losses[-1][1] < losses[0][1] - 0.01
    assert run(config, tmp_path / "resumed", control=ScriptedControl(interrupt_at=2)).status == "interrupted"
    again = run(config, tmp_path / "resumed")
    assert curve(config, tmp_path / "resumed") == losses
    assert (again.objective, again.quality) == (whole.objective, whole.quality)
    for key, weight in saved(config, tmp_path / "whole").items():
        assert torch.equal(weight, saved(config, tmp_path / "resumed")[key]), key


def test_a_checkpoint_of_trained_weights_does_not_pass_for_their_average(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    for kind in ("schedule_free", "adamw"):
        config = config_of(tiny_model, rows, {"kind": kind}, steps=1, save_steps=1)
        run(config, tmp_path / kind)
        trial = tmp_path / kind / "trials" / config.trial_id()
        assert find_trained_model(trial).folder == trial / "model"
        if kind == "adamw":
            assert find_trained_model(trial / "checkpoint-1").trial == f"{config.trial_id()}@1"
            continue
        with pytest.raises(ModelError, match="schedule_free trains other weights than their averages"):
            find_trained_model(trial / "checkpoint-1")


def saved(config: TrialConfig, folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "trials" / config.trial_id() / "model" / "model.safetensors")


@pytest.mark.parametrize("settings", [*OPTIMIZERS, *MORE], ids=name)
def test_the_state_has_the_predicted_bytes(wide_model: Path, rows: Path, settings: dict[str, Any]) -> None:
    config = config_of(wide_model, rows, settings)
    assert config.method is not None
    shape = from_config(json.loads((wide_model / "config.json").read_text()))
    tensors = list(config.method.footprint(shape).trained_tensors(shape))
    predicted = config.train.optimizer_settings.state_bytes(tensors, 4)
    measured = measure(config).optimizer_bytes
    assert measured is not None
    # Step counters of 4 bytes, and one table of 256 numbers for each 8-bit mean.
    others = 4 * sum(tensor.count for tensor in tensors) + (2 * 1024 if settings.get("bits") == 8 else 0)
    assert predicted <= measured <= predicted + others


def test_the_state_of_a_head_of_its_own_has_8_bits_and_that_of_the_embedding_32(
    rows: Path, tmp_path: Path
) -> None:
    from tests.helpers.tiny_model import make_model

    test_the_state_has_the_predicted_bytes(
        make_model(tmp_path, hidden=128, layers=1, tied=False), rows, {"kind": "adamw", "bits": 8}
    )


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose matrices are large enough for states of 8 bits."""
    from tests.helpers.tiny_model import make_model

    return make_model(tmp_path_factory.mktemp("wide"), hidden=128, layers=2)


# The ids and the shapes of memory that trials had when an optimizer was no more than a name.
EARLIER = {
    "adamw": ("e749752b6abe", "7e4e0c62506e"),
    "adamw_8bit": ("b2725fa167b9", "c35eb709d8ea"),
    "paged_adamw": ("2ad29ce20f72", "414ca5c56989"),
    "paged_adamw_8bit": ("b84a76a7020a", "8a5635a173e0"),
    "sgd": ("f8b39e2747b8", "312eaa0d4e65"),
    "adafactor": ("e439155e943c", "b60291f4cd19"),
}


@pytest.mark.parametrize("name", EARLIER)
def test_the_id_and_the_memory_shape_of_a_named_optimizer_are_those_of_earlier_versions(name: str) -> None:
    config = planned_config(optimizer=name)
    assert (config.trial_id(), config.memory_shape()) == EARLIER[name]


def test_a_name_and_its_settings_are_one_trial(tiny_model: Path, rows: Path) -> None:
    named = make_config(tiny_model, rows, "full", optimizer="adamw_8bit")
    written = make_config(tiny_model, rows, "full", optimizer={"kind": "adamw", "bits": 8})
    assert named.trial_id() == written.trial_id()
    assert named.canonical()["train"]["optimizer"] == "adamw_8bit"
    other = make_config(tiny_model, rows, "full", optimizer={"kind": "galore", "rank": 8})
    again = TrialConfig.model_validate_json(other.model_dump_json())
    assert again.trial_id() == other.trial_id() != named.trial_id()


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ({"kind": "galor"}, "no optimizer galor. Did you mean galore?"),
        ({"rank": 8}, "kind is not given"),
        ({"kind": "galore", "rang": 8}, "Extra inputs are not permitted"),
        ({"kind": "galore", "rank": 0}, "greater than or equal to 1"),
        ("galor", "'galore'"),
        ({"kind": ["adamw"]}, "kind is one name"),
        ({"kind": "schedule_free", "beta1": 0}, "greater than 0"),
    ],
)
def test_unknown_kinds_and_options_are_refused(
    tiny_model: Path, rows: Path, optimizer: Any, message: str
) -> None:
    with pytest.raises(ValidationError, match=r"train\.optimizer") as refused:
        make_config(tiny_model, rows, "full", optimizer=optimizer)
    assert message in str(refused.value)


@pytest.mark.parametrize("kind", ["lomo", "adalomo"])
@pytest.mark.parametrize(
    ("leaves", "setting"),
    [
        ({}, "max_grad_norm"),
        ({"max_grad_norm": None, "gradient_accumulation": 2}, "gradient_accumulation"),
        ({"max_grad_norm": None, "precision": "fp16"}, "precision"),
        ({"max_grad_norm": None, "retry_out_of_memory": True}, "retry_out_of_memory"),
    ],
)
def test_what_updates_in_the_backward_pass_neither_accumulates_nor_clips(
    tiny_model: Path, rows: Path, kind: str, leaves: dict[str, Any], setting: str
) -> None:
    config = make_config(tiny_model, rows, "full", optimizer=kind, **leaves)
    assert [path for path, _ in optimizer_problems(config)] == [("train", setting)]
    ((path, _, error),) = sharing_problems(config, 2)
    assert (path, error) == (("resources", "workers"), True)


def test_a_state_of_4_bits_is_neither_paged_nor_sharded(tiny_model: Path, rows: Path) -> None:
    paged = make_config(tiny_model, rows, "full", optimizer={**FOUR_BIT, "paged": True})
    ((path, what),) = optimizer_problems(paged)
    assert path == ("train", "optimizer")
    assert "can't be paged" in what
    assert not make_config(tiny_model, rows, "full", optimizer=FOUR_BIT).train.optimizer_settings.shardable


def test_groups_of_loraplus_and_of_matrices_can_not_be_combined(tiny_model: Path, rows: Path) -> None:
    plus = {"kind": "lora", "rank": 4, "loraplus_ratio": 16}
    for kind, count in (("muon", 1), ("adamw", 0)):
        assert len(list(optimizer_problems(make_config(tiny_model, rows, plus, optimizer=kind)))) == count


@pytest.mark.parametrize(
    ("optimizer", "other", "same"),
    [
        ("adamw", {"kind": "adamw", "beta2": 0.95, "epsilon": 1e-6}, True),
        ({"kind": "sgd", "momentum": 0.9}, {"kind": "sgd", "momentum": 0.5}, True),
        ("sgd", {"kind": "sgd", "momentum": 0.5}, False),
        ("galore", {"kind": "galore", "scale": 0.5, "update_every": 50}, True),
        ("galore", {"kind": "galore", "rank": 64}, False),
        ("lion", {"kind": "lion", "bits": 8}, False),
        ("ademamix", {"kind": "ademamix", "alpha": 3}, True),
        ("muon", {"kind": "muon", "nesterov": False}, False),
    ],
)
def test_settings_that_take_no_memory_share_one_measurement(
    tiny_model: Path, rows: Path, optimizer: Any, other: Any, same: bool
) -> None:
    shapes = {
        make_config(tiny_model, rows, "full", optimizer=each).memory_shape() for each in (optimizer, other)
    }
    assert (len(shapes) == 1) == same


@pytest.mark.parametrize("kind", ["schedule_free", "stable_adamw"])
def test_one_count_of_steps_for_all_weights_does_not_fit_layers_that_begin_anew(
    tiny_model: Path, rows: Path, kind: str
) -> None:
    for method, count in (({"kind": "lisa"}, 1), ({"kind": "badam"}, 1), ("full", 0)):
        found = list(optimizer_problems(make_config(tiny_model, rows, method, optimizer=kind)))
        assert len(found) == count
        assert all("counts the steps of all weights together" in what for _, what in found)


@pytest.mark.parametrize(
    ("kind", "package", "module"),
    [("schedule_free", "schedulefree", "schedulefree"), ("stable_adamw", "torch-optimi", "optimi")],
)
def test_a_package_that_is_missing_is_named_with_its_extra(
    tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str, module: str
) -> None:
    config = make_config(tiny_model, rows, "full", optimizer=kind)
    assert (("train", "optimizer"), package) in list(config.needs())
    find_spec = capabilities.find_spec
    monkeypatch.setattr(capabilities, "find_spec", lambda name: None if name == module else find_spec(name))
    missing = capabilities.CHECKS[package]()
    assert not missing.works
    assert missing.detail == "needs `pip install 'paretune[optimizers]'`"
