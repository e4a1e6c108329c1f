"""Adapters of PEFT beside a base in 4 or 8 bits: right, trained and resumed exactly there, or refused by ``plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from peft.tuners.ia3.bnb import Linear4bit

from tests.helpers.trials import make_config, make_policy
from tests.trainables.methods.test_peft_adapter import QUICK, TYPES, method, problems
from tests.trainables.runner.test_stages_and_methods import check_cell
from trainables.methods import PeftAdapter, peft_options
from trainables.models.precision import choose_dtypes
from trainables.trial.loading import load_base, prepared_base

FP32 = choose_dtypes("fp32", "float32")
ALL = [(name, bits) for name in TYPES for bits in (4, 8)]
WORKING = [(name, bits) for name, bits in ALL if name in peft_options.ON_QUANTIZED[bits]]
IN_TIME = {("ia3", 4), ("vera", 8)}
COMPARED = {*IN_TIME, ("adalora", 4), ("hra", 4), ("peanut", 8)}  # the last computes with packed weights


def quick_or_slow(cases: list[tuple[str, int]], quick: set[tuple[str, int]]) -> list[Any]:
    return [pytest.param(*case, marks=() if case in quick else pytest.mark.slow) for case in cases]


@pytest.mark.parametrize(("name", "bits"), quick_or_slow(WORKING, IN_TIME))
def test_a_type_on_a_quantized_base_trains_resumes_exactly_and_saves_what_it_was_scored_as(
    name: str, bits: int, tiny_model: Path, tmp_path: Path
) -> None:
    assert not problems(tiny_model, **method(name), bits=bits)
    check_cell(tiny_model, tmp_path, "sft", {**method(name), "bits": bits})


@pytest.mark.parametrize(("name", "bits"), quick_or_slow(ALL, COMPARED))
def test_types_are_accepted_where_they_do_beside_packed_weights_what_they_do_beside_unpacked_ones(
    name: str, bits: int, tiny_model: Path
) -> None:
    found = problems(tiny_model, **method(name), bits=bits)
    if bits == 8 and name in peft_options.NOT_IN_16_BITS:  # right in 32 bits
        assert "can't be scored in 16 bits; take bits: 4" in found["bits"]
        return
    assert ("bits" in found) != is_right(tiny_model, name, bits)
    if "bits" in found:
        assert f"PEFT has no layers of {name}" in found["bits"]
        assert "ia3" in found["bits"]


def is_right(model: Path, name: str, bits: int) -> bool:
    """Whether logits and gradients beside a quantized base are those beside the same weights in 32 bits."""
    adapter = PeftAdapter.model_validate(method(name))
    quantized = PeftAdapter.model_validate({**method(name), "bits": bits})
    config = make_config(model, "commands", None, dtype="float32", precision="fp32")
    packed_config = config.model_copy(update={"method": quantized})
    base = prepared_base(packed_config, model)
    unpacked = with_unpacked_weights(load_base(config, model), base)
    try:
        torch.manual_seed(1)
        packed = quantized.attach(base, FP32)
        torch.manual_seed(1)
        plain = adapter.attach(unpacked, FP32)
        give_values(packed, plain)
        return bool(torch.allclose(results(packed), results(plain), rtol=1e-3, atol=1e-5))
    except (RuntimeError, TypeError, ValueError):
        return False


def test_a_layer_beside_packed_weights_may_be_called_by_the_name_of_its_input(tiny_model: Path) -> None:
    config = make_config(tiny_model, "commands", {**method("ia3"), "bits": 4})
    layer = next(each for each in make_policy(config).model.modules() if isinstance(each, Linear4bit))
    hidden = torch.ones(2, layer.in_features, dtype=torch.bfloat16)
    assert layer(x=hidden).dtype == layer(hidden).dtype == torch.bfloat16


def with_unpacked_weights(plain: Any, quantized: Any) -> Any:
    """``plain`` with the values that the layers of ``quantized`` stand for."""
    for name, layer in quantized.named_modules():
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            values = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
        elif isinstance(layer, bitsandbytes.nn.Linear8bitLt):
            values = bitsandbytes.functional.int8_vectorwise_dequant(layer.weight.data, layer.weight.SCB)
        else:
            continue
        plain.get_submodule(name).weight.data = values.float()
    return plain


def give_values(packed: Any, plain: Any) -> None:
    """Gives both models' adapters the same values, as after training: many types begin with no effect."""
    others = dict(plain.named_parameters()) | dict(plain.named_buffers())
    with torch.no_grad():
        for number, (name, parameter) in enumerate(packed.named_parameters()):
            if parameter.requires_grad:
                torch.manual_seed(number)
                parameter += 0.02 * torch.randn_like(parameter)
                others[name].copy_(parameter)
        for name, buffer in packed.named_buffers():
            if name in others and others[name].shape == buffer.shape:
                others[name].copy_(buffer)


def results(model: Any) -> torch.Tensor:
    """The logits of a text and the gradients of its loss, in one row. In training mode, in which bitsandbytes does not
    round the inputs of 8-bit layers on CPUs.
    """
    tokens = torch.arange(5, 25)[None]
    torch.manual_seed(0)  # pvera draws at random
    output = model.train()(input_ids=tokens, labels=tokens)
    output.loss.backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    assert gradients
    return torch.cat([output.logits.detach().flatten(), *gradients])


def test_a_quantized_base_is_part_of_the_label_and_of_the_base_that_trials_share(tiny_model: Path) -> None:
    plain, quantized = PeftAdapter(type="ia3"), PeftAdapter(type="ia3", bits=4)
    assert (plain.label, quantized.label) == ("ia3", "ia3-4bit")
    ids = [
        make_config(tiny_model, "commands", {"kind": "peft", "type": "ia3", **bits}).base_form()
        for bits in ({}, {"bits": 4}, {"bits": 8})
    ]
    assert len(set(ids)) == 3
    assert ids[0] == make_config(tiny_model, "commands", "lora").base_form()


def test_what_is_written_of_an_adapter_without_a_quantized_base_has_no_settings_of_one() -> None:
    assert PeftAdapter(type="road").model_dump(exclude={"name"}) == {
        "kind": "peft",
        "type": "road",
        "targets": "default",
    }
    written = PeftAdapter(type="road", bits=8).model_dump_json()
    assert PeftAdapter.model_validate_json(written) == PeftAdapter(type="road", bits=8)


def test_settings_of_a_quantized_base_are_refused_without_bits() -> None:
    with pytest.raises(ValueError, match="quant_type says how a base is quantized: add bits: 4 or 8"):
        PeftAdapter(type="ia3", quant_type="fp4")
    with pytest.raises(ValueError, match="Input should be 4 or 8"):
        PeftAdapter.model_validate({"type": "ia3", "bits": 3})


def test_a_model_in_few_bits_cannot_be_sharded(tiny_model: Path) -> None:
    config = make_config(tiny_model, "commands", {"kind": "peft", "type": "ia3", "bits": 4}, sharding="fsdp")
    assert config.method is not None
    assert "can't be sharded" in dict(config.method.training_obstacles(config.train))["sharding"]


def test_the_types_that_run_quickly_on_a_quantized_base_are_among_those_that_work() -> None:
    assert set(WORKING) >= IN_TIME
    assert {name for name, _ in WORKING} >= set(QUICK)
    assert not set(WORKING) & {("hra", 4), ("peanut", 8)}
