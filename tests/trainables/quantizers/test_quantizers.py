"""Quantizers: every one that a CPU can run holds the layers it says, trains and can be merged; and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tests.helpers.tiny_model import HIDDEN, LAYERS, make_model
from tests.helpers.trials import make_config, make_policy, run, write_rows
from tests.trainables.methods.test_methods import logits, run_and_keep
from trainables.memory.figures import weight_bytes
from trainables.methods import QLoRA
from trainables.models.folder import ModelError
from trainables.quantizers import QUANTIZERS, QuantizationFailed, Quantizer, check_quantized
from trainables.quantizers.counts import count_parameters
from trainables.runner.run import TrialContext, run_trial
from trainables.trial import starting_weights
from trainables.trial.loading import load_base
from trainables.trial.starting_weights import _merge

LINEAR_LAYERS = 7 * LAYERS


def hqq(bits: int = 4, **options: Any) -> dict[str, Any]:
    return {"kind": "qlora", "backend": "hqq", "bits": bits, "rank": 4, "group_size": 32, **options}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "wide", hidden=256, layers=2)


@pytest.mark.parametrize(
    "method", [{"kind": "qlora"}, {"kind": "qlora", "bits": 8}, hqq(), hqq(8)], ids=["4", "8", "hqq4", "hqq8"]
)
def test_a_trial_records_how_many_layers_are_really_quantized(
    tiny_model: Path, rows: Path, tmp_path: Path, method: dict[str, Any]
) -> None:
    record = run(make_config(tiny_model, rows, method), tmp_path)
    assert (record.status, record.quantized_layers) == ("done", LINEAR_LAYERS)


def test_a_trial_that_quantizes_nothing_records_no_layers(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    assert run(make_config(tiny_model, rows, "lora"), tmp_path).quantized_layers is None


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 8])
def test_hqq_trains_an_adapter_beside_every_layer_in_any_number_of_bits(
    tiny_model: Path, rows: Path, bits: int
) -> None:
    model = make_policy(make_config(tiny_model, rows, hqq(bits))).model
    trained = {name.partition(".lora_")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == LINEAR_LAYERS
    held = [module for module in model.modules() if QUANTIZERS["hqq"].is_quantized(module)]
    assert {module.meta["nbits"] for module in held} == {bits}
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_fewer_bits_are_less_memory_and_worse_weights(wide_model: Path, rows: Path) -> None:
    plain = load_base(make_config(wide_model, rows, "lora"), wide_model)
    weight = plain.model.layers[0].mlp.up_proj.weight.float()
    sizes, errors = [], []
    for bits in (8, 4, 3, 2, 1):
        model = make_policy(make_config(wide_model, rows, hqq(bits))).model.get_base_model()
        layer = model.model.layers[0].mlp.up_proj.base_layer
        sizes.append(weight_bytes(model))
        errors.append(float((layer.dequantize().float() - weight).norm() / weight.norm()))
    assert sizes == sorted(sizes, reverse=True)
    assert errors == sorted(errors)
    assert errors[0] < 0.02
    assert 0.05 < errors[1] < 0.15  # 4 bits: 16 steps over about 4 standard deviations to each side


def test_weights_of_hqq_count_packed_codes_scales_and_zeros(tiny_model: Path, rows: Path) -> None:
    base = make_policy(make_config(tiny_model, rows, None)).model
    linear = sum(
        m.weight.numel() for n, m in base.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"
    )
    model = make_policy(make_config(tiny_model, rows, hqq(4, group_size=32))).model
    adapters = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    # Half a byte a weight, and two bf16 constants for each 32 of them.
    expected = weight_bytes(base) - 2 * linear + linear // 2 + 2 * 2 * linear // 32
    assert weight_bytes(model) - adapters == expected


def test_a_packed_parameter_counts_as_the_weights_it_stands_for(tiny_model: Path, rows: Path) -> None:
    whole = count_parameters(make_policy(make_config(tiny_model, rows, "lora")).model)
    for method in (hqq(), hqq(3), {"kind": "qlora", "rank": 4}, {"kind": "qlora", "rank": 4, "bits": 8}):
        adapted = {**method, "rank": 4}
        lora = count_parameters(make_policy(make_config(tiny_model, rows, {"kind": "lora", "rank": 4})).model)
        assert count_parameters(make_policy(make_config(tiny_model, rows, adapted)).model) == lora == whole


def test_an_adapter_trained_on_hqq_is_merged_onto_the_unquantized_base(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    config = make_config(tiny_model, rows, hqq(8), learning_rate=1e-2)
    record, policy = run_and_keep(config, tmp_path / "run")
    expected = logits(policy)
    adapter = tmp_path / "run" / "trials" / record.trial_id / "model"
    _merge(adapter, tmp_path / "run", tmp_path / "merged", unsafe=())
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.bfloat16)
    assert not any(type(module).__name__ == "HQQLinear" for module in merged.modules())
    found = merged(input_ids=torch.arange(5, 29).view(2, 12)).logits.float()
    # What eight bits rounded is back; what was trained is still there.
    base = logits(make_policy(make_config(tiny_model, rows, None)))
    assert (found - expected).norm() < 0.2 * (base - expected).norm()


def test_the_int8_threshold_reaches_the_layers(tiny_model: Path, rows: Path) -> None:
    method = {"kind": "qlora", "bits": 8, "int8_threshold": 3.0}
    base = load_base(make_config(tiny_model, rows, method), tiny_model)
    assert base.model.layers[0].self_attn.q_proj.state.threshold == 3.0


def test_layers_that_were_left_out_are_an_error_that_names_them(tiny_model: Path, rows: Path) -> None:
    base = load_base(make_config(tiny_model, rows, {"kind": "qlora"}), tiny_model)
    base.model.layers[1].mlp.up_proj = nn.Linear(HIDDEN, HIDDEN)
    with pytest.raises(
        QuantizationFailed, match=r"only 27 of 28 .* not model.layers.1.mlp.up_proj"
    ) as caught:
        check_quantized(QUANTIZERS["bnb"], base)
    assert LINEAR_LAYERS - 1 == 20 or str(LINEAR_LAYERS - 1) in str(caught.value)


def test_weights_in_no_linear_layer_are_an_error_too(tiny_model: Path, rows: Path) -> None:
    base = load_base(make_config(tiny_model, rows, {"kind": "qlora"}), tiny_model)
    base.model.layers[1].mlp.experts = nn.Parameter(torch.zeros(8, 256, 256))
    with pytest.raises(QuantizationFailed, match="of the decoder's weights are in linear layers"):
        check_quantized(QUANTIZERS["bnb"], base)


def test_rows_that_groups_do_not_divide_fail_with_the_layers_name(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    record = run_trial(make_config(tiny_model, rows, hqq(group_size=40)), TrialContext(tmp_path))
    assert record.status == "failed"
    assert record.error is not None
    assert "q_proj has rows of 64 weights, which groups of 40 don't divide" in record.error


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bits": 3}, "bits: bnb has 4 or 8 bits, not 3. Write backend: hqq, which has 1 to 6 and 8"),
        ({"backend": "eetq", "bits": 4}, "bits: eetq has 8 bits, not 4"),
        ({"backend": "hqq", "quant_type": "fp4"}, "quant_type is a setting of bnb, and the backend is hqq"),
        ({"group_size": 32}, "group_size is a setting of hqq, and the backend is bnb"),
        ({"backend": "hqq", "group_size": 12}, "multiple of 8"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QLoRA.model_validate(fields)


def test_an_incomplete_quantizer_cannot_be_instantiated() -> None:
    class Incomplete(Quantizer):
        def capability(self, settings: Any) -> str:
            return "nothing"

    with pytest.raises(
        TypeError, match=r"abstract methods.*bytes_per_weight.*constants_per_weight.*is_quantized"
    ):
        Incomplete()  # type: ignore[abstract]


def test_a_checkpoint_of_a_trial_can_be_continued_from(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    config = make_config(tiny_model, rows, hqq(8), steps=2, save_steps=1)
    record = run(config, tmp_path)
    trial = tmp_path / "trials" / record.trial_id
    found = starting_weights.find_trained_model(trial / "checkpoint-1")
    assert found.trial == f"{record.trial_id}@1"
    assert found.is_adapter
    model = config.model.model_copy(update={"start": found})
    further = config.model_copy(update={"model": model})
    assert run(further, tmp_path).status == "done"
    assert (tmp_path / "merged" / f"{record.trial_id}@1" / "config.json").is_file()
    (trial / "checkpoint-1" / "complete.json").unlink()
    with pytest.raises(ModelError, match="is incomplete or damaged"):
        starting_weights.find_trained_model(trial / "checkpoint-1")
