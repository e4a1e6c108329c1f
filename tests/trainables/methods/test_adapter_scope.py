"""LoRA on some layers, without some modules, and with alpha as a multiple of the rank."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.helpers.specs import SPEC, plan, spec_folder
from tests.helpers.tiny_model import LAYERS
from tests.helpers.trials import ScriptedControl, curve, make_config, make_policy, run, write_rows
from trainables.methods import LoRA
from trainables.models.architecture.decoder_shape import MemoryNotPredictable, from_config
from trainables.models.folder import read_architecture

ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


def adapted(model: Any) -> set[tuple[int, str]]:
    """Layer and name of each adapted module."""
    found = (re.search(r"layers\.(\d+)\.\w+\.(\w+)\.lora_A\.", name) for name, _ in model.named_parameters())
    return {(int(match[1]), match[2]) for match in found if match}


@pytest.mark.parametrize(
    ("settings", "layers", "modules"),
    [
        ({"layers": [0, 2]}, (0, 2), ATTENTION + MLP),
        ({"layers": {"last": 1}}, (LAYERS - 1,), ATTENTION + MLP),
        ({"layers": {"first": 2}, "targets": ["q_proj"]}, (0, 1), ("q_proj",)),
        ({"exclude": ["mlp", "o_proj"]}, range(LAYERS), ATTENTION[:3]),
        ({"layers": [1], "exclude": ["k_proj"], "targets": r".*\.[qk]_proj"}, (1,), ("q_proj",)),
    ],
)
def test_lora_adapts_the_layers_and_modules_that_are_left(
    tiny_model: Path, rows: Path, settings: dict[str, Any], layers: Any, modules: tuple[str, ...]
) -> None:
    config = make_config(tiny_model, rows, {"kind": "lora", **settings})
    assert config.method is not None
    assert not list(config.method.problems(read_architecture(tiny_model)))
    policy = make_policy(config)
    assert adapted(policy.model) == {(layer, module) for layer in layers for module in modules}


@pytest.mark.parametrize(
    ("settings", "setting", "message"),
    [
        ({"layers": [0, 9]}, "layers", "numbered 0 to 3; it has no layer 9"),
        ({"layers": {"last": 9}}, "layers", "the model has 4 layers, so 9 can't be adapted"),
        ({"layers": []}, "layers", "the list is empty"),
        ({"exclude": ["dwn_proj"]}, "exclude", "Did you mean down_proj?"),
        ({"exclude": ["mlp"], "targets": ["q_proj"]}, "exclude", "mlp would get no adapter anyway"),
        ({"exclude": ["mlp", "self_attn"]}, "exclude", "all targets are excluded"),
        ({"layers": [1], "targets": ["layers.0.mlp.up_proj"]}, "layers", "none of the targets is in these"),
    ],
)
def test_a_plan_names_what_is_wrong_with_layers_and_exclusions(
    tiny_model: Path, settings: dict[str, Any], setting: str, message: str
) -> None:
    ((found, what),) = LoRA.model_validate(settings).problems(read_architecture(tiny_model))
    assert found == setting
    assert message in what


def test_an_adapter_on_some_layers_resumes_exactly_and_loads_with_peft_alone(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    method = {"kind": "lora", "layers": {"last": 2}, "exclude": ["mlp"], "frozen_a": True}
    config = make_config(tiny_model, rows, method, steps=3, learning_rate=1e-2)
    whole = run(config, tmp_path / "whole")
    assert run(config, tmp_path / "again", control=ScriptedControl(interrupt_at=2)).status == "interrupted"
    (checkpoint,) = (tmp_path / "again").rglob("checkpoint-*/adapter_model.safetensors")
    saved = load_file(checkpoint)
    again = run(config, tmp_path / "again")
    assert curve(config, tmp_path / "again") == curve(config, tmp_path / "whole")
    assert again.objective == whole.objective
    folder = tmp_path / "whole" / "trials" / config.trial_id() / "model"
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), folder)
    assert adapted(loaded) == {(layer, name) for layer in (LAYERS - 2, LAYERS - 1) for name in ATTENTION}
    # B alone trains, after a checkpoint too.
    end = load_file(folder / "adapter_model.safetensors")
    changed = {name for name, value in end.items() if not value.equal(saved[name].to(value.dtype))}
    assert changed == {name for name in end if "lora_B" in name}
    assert whole.trainable_params == sum(value.numel() for name, value in end.items() if "lora_B" in name)


def test_the_formula_counts_no_excluded_modules(tiny_model: Path) -> None:
    shape = from_config(json.loads((tiny_model / "config.json").read_text()))
    named = LoRA(targets=ATTENTION).footprint(shape)
    assert LoRA(exclude=MLP).footprint(shape) == named
    with pytest.raises(MemoryNotPredictable):
        LoRA(layers=(0,)).footprint(shape)


def test_alpha_follows_the_rank_of_each_trial_and_is_recorded_as_a_number(tmp_path: Path) -> None:
    lora = "{kind: lora, rank: {choice: [4, 8]}, alpha: {times_rank: {choice: [1, 2]}}}"
    text = SPEC.replace("{kind: lora, rank: {choice: [4, 8]}}", lora)
    cell = next(cell for cell in plan(spec_folder(tmp_path), text).cells if "lora" in cell.name)
    assert {"method.rank", "method.alpha.times_rank"} <= set(cell.space)
    values = {"train.learning_rate": 1e-3}
    for rank, factor in ((4, 1), (8, 2)):
        drawn = cell.config(values | {"method.rank": rank, "method.alpha.times_rank": factor})
        assert isinstance(drawn.method, LoRA)
        assert (drawn.method.rank, drawn.method.alpha) == (rank, rank * factor)
        written = cell.first().method
        assert isinstance(written, LoRA)
        plain = written.model_copy(update={"rank": rank, "alpha": float(rank * factor)})
        assert drawn.trial_id() == drawn.model_copy(update={"method": plain}).trial_id()
    for wrong in ({"times_rank": "two"}, {"times": 2}, {"times_rank": 0}):
        with pytest.raises(ValueError, match=r"times_rank: 2|greater than 0"):
            LoRA.model_validate({"alpha": wrong})


def test_settings_that_are_not_given_are_not_part_of_an_id(tiny_model: Path, rows: Path) -> None:
    assert not {"layers", "exclude", "frozen_a"} & set(make_config(tiny_model, rows).canonical()["method"])
    given = make_config(tiny_model, rows, {"kind": "lora", "layers": [0]}).canonical()["method"]
    assert given["layers"] == [0]
    # Those of other methods stay.
    freeze = make_config(tiny_model, rows, {"kind": "freeze", "layers": 2}).canonical()["method"]
    assert freeze["layers"] == 2
