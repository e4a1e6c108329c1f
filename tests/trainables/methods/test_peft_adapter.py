"""Adapters of PEFT by the names of their types: each trains, resumes exactly, is saved and merged, or is refused."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.trials import make_config, make_policy
from tests.trainables.runner.test_stages_and_methods import OWN, check_cell
from trainables.methods import PeftAdapter, peft_options
from trainables.models.folder import ModelError, read_architecture
from trainables.models.merge_adapter import merge_adapter
from trainables.trial.config import TrialConfig

# Options that the tests' small model needs: block sizes that divide its layers, fewer coefficients than weights.
OPTIONS: dict[str, dict[str, Any]] = {
    "adalora": {"init_r": 6, "target_r": 2},
    "adaption_prompt": {"adapter_len": 3, "adapter_layers": 2},
    "c3a": {"block_size": 4},
    "fourierft": {"n_frequency": 50},
    "gralora": {"r": 8},
    "miss": {"r": 8},
    "p_tuning": {"num_virtual_tokens": 3, "encoder_hidden_size": 16},
    "prefix_tuning": {"num_virtual_tokens": 3},
    "prompt_tuning": {"num_virtual_tokens": 3},
    "oft": {"oft_block_size": 4, "r": 0},
    "randlora": {"r": 4},
    "road": {"group_size": 4},
    "shira": {"r": 2},
    "trainable_tokens": {"token_indices": [5, 6, 7]},
    "vblora": {"vector_length": 4, "num_vectors": 16},
    "waveft": {"n_frequency": 50},
}
TYPES = [name for name in peft_options.known_types() if name not in peft_options.REFUSED]
# Those beside which PEFT trains the head of a classifier.
WITH_HEAD = [name for name in TYPES if peft_options.head_obstacle(name) is None]
QUICK = ("ia3", "oft", "prefix_tuning", "prompt_tuning")
# Types whose layers multiply their weights with tensors that don't train.
WITH_BUFFERS = ("deft", "delora", "pvera", "tinylora", "unilora", "vera")
# PEFT can't merge beft into a model whose layers have no biases, and lily never; virtual tokens change no weights.
UNMERGED = ("adaption_prompt", "beft", "lily", *peft_options.VIRTUAL_TOKENS)


def method(name: str) -> dict[str, Any]:
    return {"kind": "peft", "type": name, **OPTIONS.get(name, {})}


def problems(model: Path, **settings: Any) -> dict[str, str]:
    adapter = PeftAdapter.model_validate({"kind": "peft", **settings})
    return dict(adapter.problems(read_architecture(model)))


@pytest.mark.parametrize(
    "name", [pytest.param(t, marks=() if t in QUICK else pytest.mark.slow) for t in TYPES]
)
def test_every_type_trains_resumes_exactly_and_saves_what_it_was_scored_as(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    assert not problems(tiny_model, **method(name))
    check_cell(tiny_model, tmp_path, "sft", method(name))


@pytest.mark.parametrize("precision", ["pure_bf16", "fp32"])
@pytest.mark.parametrize(
    "name", [pytest.param(t, marks=() if t == "vera" else pytest.mark.slow) for t in WITH_BUFFERS]
)
def test_what_an_adapter_multiplies_with_has_the_dtype_of_its_weights(
    name: str, precision: str, tiny_model: Path, tmp_path: Path
) -> None:
    check_cell(tiny_model, tmp_path, "sft", method(name), precision)


@pytest.mark.parametrize(
    "name", [pytest.param(t, marks=() if t in QUICK else pytest.mark.slow) for t in TYPES]
)
def test_every_type_is_merged_without_a_change_or_says_why_not(name: str, tiny_model: Path) -> None:
    check_merge(
        name, make_config(tiny_model, "commands", method(name), dtype="float32", precision="fp32"), 1e-3
    )


@pytest.mark.parametrize(
    "name", [pytest.param(t, marks=() if t == "prompt_tuning" else pytest.mark.slow) for t in WITH_HEAD]
)
def test_every_type_trains_a_classifier_and_saves_its_head(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    check_cell(tiny_model, tmp_path, "classification", method(name))
    stage = {"kind": "classification", **OWN["classification"]}
    exact = {"dtype": "float32", "precision": "fp32"}
    check_merge(name, make_config(tiny_model, "command-kinds", method(name), stage=stage, **exact), 1e-3)


@pytest.mark.parametrize(
    "name", [pytest.param(t, marks=() if t == "vera" else pytest.mark.slow) for t in WITH_BUFFERS]
)
def test_an_adapter_in_16_bits_is_merged_with_all_it_multiplies_with(name: str, tiny_model: Path) -> None:
    check_merge(name, make_config(tiny_model, "commands", method(name), precision="pure_bf16"), 5e-2)


def check_merge(
    name: str, config: TrialConfig, tolerance: float, unmerged: Collection[str] = UNMERGED
) -> None:
    """Compares the logits of an adapter and those of the model that it is merged into. ``unmerged``: types that can't
    be merged into this model.
    """
    policy = make_policy(config)
    with torch.no_grad():
        for number, parameter in enumerate(each for each in policy.model.parameters() if each.requires_grad):
            torch.manual_seed(number)
            parameter += 0.01 * torch.randn_like(
                parameter
            )  # as after training: many types begin with no effect
    policy.model.eval()
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        before = policy.model(input_ids=tokens).logits
    assert config.method is not None
    assert config.model.path is not None
    obstacle = config.method.merge_obstacle(read_architecture(config.model.path))
    assert (obstacle is not None) == (name in unmerged)  # as `plan` foresees
    if name in unmerged:
        with pytest.raises(ModelError, match=r"can't be merged.*--adapter exports it"):
            merge_adapter(policy.model)
        return
    with torch.no_grad():
        after = merge_adapter(policy.model)(input_ids=tokens).logits
    torch.testing.assert_close(after, before, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize(
    ("bias", "targets", "without"),
    [(False, "default", "q_proj"), (True, "default", "gate_proj"), (True, ("q_proj", "o_proj"), None)],
)
def test_beft_can_be_merged_where_all_that_it_adapts_has_a_bias(
    bias: bool, targets: Any, without: str | None, tiny_model: Path
) -> None:
    architecture = read_architecture(tiny_model)
    architecture = replace(architecture, config={**architecture.config, "attention_bias": bias})
    obstacle = PeftAdapter(type="beft", targets=targets).merge_obstacle(architecture)
    if without is None:
        assert obstacle is None
    else:
        assert obstacle is not None
        assert f"{without} has none" in obstacle


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("prompt_tuning_init", "TEXT"),
        ("prompt_tuning_init", "text"),
        ("prompt_tuning_init_text", "Answer briefly."),
        ("tokenizer_name_or_path", "/elsewhere"),
        ("tokenizer_kwargs", {"trust_remote_code": True}),
    ],
)
def test_prompt_tuning_reads_no_tokenizer_from_a_path_of_its_own(
    option: str, value: Any, tiny_model: Path
) -> None:
    written = {"num_virtual_tokens": 3, option: value}
    found = problems(tiny_model, type="prompt_tuning", **written)
    assert found.keys() == {option}
    assert "PEFT reads a tokenizer from a path of its own" in found[option]
    assert option not in peft_options.option_names("prompt_tuning") or option == "prompt_tuning_init"


@pytest.mark.parametrize("start", ["RANDOM", "SAMPLE_VOCAB"])
def test_prompt_tuning_has_its_other_starts(start: str, tiny_model: Path) -> None:
    written = {"num_virtual_tokens": 3, "prompt_tuning_init": start}
    assert not problems(tiny_model, type="prompt_tuning", **written)


@pytest.mark.parametrize("name", sorted(peft_options.REFUSED))
def test_a_type_that_cannot_be_trained_is_refused_with_the_reason(name: str, tiny_model: Path) -> None:
    assert peft_options.REFUSED[name] in problems(tiny_model, type=name)["type"]


def test_unknown_types_and_options_are_refused_with_the_nearest_name(tiny_model: Path) -> None:
    assert "Did you mean ia3?" in problems(tiny_model, type="ia33")["type"]
    assert (
        "Did you mean oft_block_size?" in problems(tiny_model, type="oft", oft_blocksize=4)["oft_blocksize"]
    )
    assert "write targets" in problems(tiny_model, type="hra", target_modules=["q_proj"])["target_modules"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("r", "eight", "valid integer"), ("r", 10**9, "the maximum is"), ("apply_GS", 3, "valid boolean")],
)
def test_a_value_that_the_option_cannot_have_is_refused(
    option: str, value: Any, words: str, tiny_model: Path
) -> None:
    assert words in problems(tiny_model, type="hra", **{option: value})[option]


def test_options_that_do_not_fit_the_models_layers_are_refused_before_training(tiny_model: Path) -> None:
    assert "PEFT refuses these options" in problems(tiny_model, type="road", group_size=7)["type"]


def test_adaption_prompts_are_refused_without_a_size_and_for_attention_that_peft_does_not_know(
    tiny_model: Path, tmp_path: Path
) -> None:
    found = problems(tiny_model, type="adaption_prompt", adapter_len=3)
    assert found == {"adapter_layers": "adaption_prompt needs it, such as adapter_layers: 8"}
    options = {"type": "adaption_prompt", "adapter_len": 3, "adapter_layers": 2}
    assert not problems(tiny_model, **options)
    assert "more adapter layers '9'" in problems(tiny_model, **{**options, "adapter_layers": 9})["type"]
    architecture = read_architecture(tiny_model)
    other = replace(architecture, config={**architecture.config, "model_type": "qwen2"})
    adapter = PeftAdapter.model_validate({"kind": "peft", **options})
    assert "Unsupported model type for adaption prompt: 'qwen2'" in dict(adapter.problems(other))["type"]


def test_a_size_of_zero_is_refused_in_words(tiny_model: Path) -> None:
    assert "PEFT refuses these options" in problems(tiny_model, type="vblora", vector_length=0)["type"]


def test_a_wrong_option_beside_targets_is_one_problem(tiny_model: Path) -> None:
    found = problems(tiny_model, type="oft", targets=("q_proj",), modules_to_save=3)
    assert list(found) == ["modules_to_save"]


def test_the_reference_policy_of_an_adapter_is_the_base_model(tiny_model: Path) -> None:
    policy = make_policy(
        make_config(tiny_model, "commands", method("hra"), dtype="float32", precision="fp32")
    )
    tokens = torch.arange(5, 25)[None]
    base = make_policy(make_config(tiny_model, "commands", None, dtype="float32", precision="fp32"))
    with torch.no_grad():
        for parameter in policy.model.parameters():
            if parameter.requires_grad:
                parameter += 0.01
        adapted = policy.model(input_ids=tokens).logits
        with PeftAdapter.model_validate(method("hra")).reference(policy.model) as reference:
            assert torch.equal(reference(input_ids=tokens).logits, base.model(input_ids=tokens).logits)
    assert not torch.equal(adapted, base.model(input_ids=tokens).logits)
