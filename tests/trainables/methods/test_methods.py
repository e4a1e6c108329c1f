"""The methods: what trains, in which dtype, what "before training" means, and what is left on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from tests.helpers.model_families import make_family
from tests.helpers.tiny_model import HIDDEN, LAYERS, VOCAB, make_model, make_tokenizer
from tests.helpers.trials import METHODS, ScriptedControl, make_config, make_policy, run, write_rows
from trainables.methods import LoRA, lora_targets
from trainables.methods.base import FineTuning, save_whole
from trainables.models.locate import read_architecture
from trainables.models.precision import Dtypes, choose_dtypes
from trainables.quantizers.bnb import keep_cpu_gradients_correct
from trainables.training.policy import Policy
from trainables.training.stage_trainer import keeping_trainable_dtype
from trainables.trial.config import TrialConfig
from trainables.trial.loading import load_base

BF16, FP32 = torch.bfloat16, torch.float32
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module")
def untied_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "untied", tied=False)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


def trained(policy: Policy) -> set[str]:
    return {name for name, parameter in policy.model.named_parameters() if parameter.requires_grad}


def layer_weights(*layers: int) -> set[str]:
    parts = {
        "input_layernorm",
        "post_attention_layernorm",
        *(f"self_attn.{name}" for name in LINEAR[:4]),
        *(f"mlp.{name}" for name in LINEAR[4:]),
    }
    return {f"model.layers.{layer}.{part}.weight" for layer in layers for part in parts}


def adapter_weights(*targets: str) -> set[str]:
    owner = dict.fromkeys(LINEAR[:4], "self_attn") | dict.fromkeys(LINEAR[4:], "mlp")
    return {
        f"base_model.model.model.layers.{layer}.{owner[target]}.{target}.lora_{side}.default.weight"
        for layer in range(LAYERS)
        for target in targets
        for side in "AB"
    }


def some_ids() -> Tensor:
    return torch.arange(5, 5 + 24).view(2, 12)


def logits(policy: Policy) -> Tensor:
    with policy.evaluating():
        return policy.model(input_ids=some_ids()).logits.float()


# What trains


def test_an_incomplete_method_cannot_be_instantiated() -> None:
    class Incomplete(FineTuning):
        kind: Literal["incomplete"] = "incomplete"

        def attach(self, model: nn.Module, dtypes: Dtypes) -> nn.Module:
            return model

    with pytest.raises(TypeError, match=r"abstract methods.*footprint.*save"):
        Incomplete()  # type: ignore[abstract]


def test_full_trains_every_weight(tiny_model: Path, rows: Path) -> None:
    policy = make_policy(make_config(tiny_model, rows, "full"))
    assert trained(policy) == {name for name, _ in policy.model.named_parameters()}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"layers": 1}, layer_weights(LAYERS - 1)),
        ({"layers": 2, "end": "last"}, layer_weights(LAYERS - 2, LAYERS - 1)),
        ({"layers": 2, "end": "first"}, layer_weights(0, 1)),
        ({"layers": LAYERS}, layer_weights(*range(LAYERS))),
        ({"layers": 1, "modules": ["norm"]}, layer_weights(LAYERS - 1) | {"model.norm.weight"}),
        ({"layers": 0, "modules": ["layers.0.mlp.up_proj"]}, {"model.layers.0.mlp.up_proj.weight"}),
        (
            {"layers": 0, "modules": ["layers.1.mlp"]},
            {f"model.layers.1.mlp.{name}.weight" for name in LINEAR[4:]},
        ),
        ({"layers": 0, "head": True}, {"model.embed_tokens.weight"}),
    ],
)
def test_freeze_trains_the_requested_layers_and_modules_and_no_others(
    tiny_model: Path, rows: Path, settings: dict[str, Any], expected: set[str]
) -> None:
    policy = make_policy(make_config(tiny_model, rows, {"kind": "freeze", **settings}))
    assert trained(policy) == expected


def test_freeze_trains_an_untied_head_without_the_embedding(untied_model: Path, rows: Path) -> None:
    policy = make_policy(make_config(untied_model, rows, {"kind": "freeze", "layers": 0, "head": True}))
    assert trained(policy) == {"lm_head.weight"}


def test_a_tied_head_stays_tied_when_it_trains(tiny_model: Path, rows: Path) -> None:
    policy = make_policy(make_config(tiny_model, rows, {"kind": "freeze", "layers": 0, "head": True}))
    assert policy.model.lm_head.weight is policy.model.model.embed_tokens.weight
    assert policy.model.lm_head.weight.dtype == FP32


@pytest.mark.parametrize("kind", ["lora", "qlora-4bit", "qlora-8bit"])
def test_lora_trains_an_adapter_beside_every_linear_layer_and_nothing_else(
    tiny_model: Path, rows: Path, kind: str
) -> None:
    assert trained(make_policy(make_config(tiny_model, rows, kind))) == adapter_weights(*LINEAR)


def test_lora_adapts_only_the_targets_that_are_named(tiny_model: Path, rows: Path) -> None:
    method = {"kind": "lora", "targets": ["q_proj", "v_proj"]}
    assert trained(make_policy(make_config(tiny_model, rows, method))) == adapter_weights("q_proj", "v_proj")


def test_lora_trains_a_copy_of_the_modules_to_save(untied_model: Path, rows: Path) -> None:
    method = {"kind": "lora", "targets": ["q_proj"], "modules_to_save": ["lm_head"]}
    policy = make_policy(make_config(untied_model, rows, method))
    copied = "base_model.model.lm_head.modules_to_save.default.weight"
    assert trained(policy) == adapter_weights("q_proj") | {copied}


def test_dora_trains_a_magnitude_beside_every_adapter(tiny_model: Path, rows: Path) -> None:
    method = {"kind": "lora", "targets": ["q_proj"], "dora": True}
    names = trained(make_policy(make_config(tiny_model, rows, method)))
    magnitudes = {name for name in names if "lora_magnitude_vector" in name}
    assert len(magnitudes) == LAYERS
    assert names - magnitudes == adapter_weights("q_proj")


@pytest.mark.parametrize(
    ("settings", "scaling"),
    [
        ({"rank": 4}, 2.0),  # alpha is twice the rank
        ({"rank": 4, "alpha": 16}, 4.0),  # 16 / 4
        ({"rank": 16, "alpha": 8, "rslora": True}, 2.0),  # 8 / sqrt(16)
        ({"rank": 4, "rslora": True}, 4.0),  # 2 * 4 / sqrt(4)
    ],
)
def test_rank_and_alpha_shape_and_scale_the_adapters(
    tiny_model: Path, rows: Path, settings: dict[str, Any], scaling: float
) -> None:
    policy = make_policy(make_config(tiny_model, rows, {"kind": "lora", "targets": ["q_proj"], **settings}))
    layer = policy.causal.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == scaling
    assert layer.lora_A["default"].weight.shape == (settings["rank"], HIDDEN)
    assert layer.lora_B["default"].weight.shape == (HIDDEN, settings["rank"])


@pytest.mark.parametrize("init", ["default", "gaussian", "pissa", "olora"])
def test_a_fresh_adapter_changes_nothing_however_it_starts(tiny_model: Path, rows: Path, init: str) -> None:
    base = make_policy(make_config(tiny_model, rows, None, precision="fp32"))
    policy = make_policy(make_config(tiny_model, rows, {"kind": "lora", "init": init}, precision="fp32"))
    torch.testing.assert_close(logits(policy), logits(base), atol=1e-5, rtol=0)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_pissa_and_olora_move_part_of_the_base_into_the_adapter(
    tiny_model: Path, rows: Path, init: str
) -> None:
    policy = make_policy(make_config(tiny_model, rows, {"kind": "lora", "init": init}, precision="fp32"))
    layer = policy.causal.model.layers[0].self_attn.q_proj
    assert layer.get_delta_weight("default").abs().max() > 0.01


def test_a_gaussian_start_differs_from_the_default_one(tiny_model: Path, rows: Path) -> None:
    """Kaiming-uniform A is bounded by 1 / sqrt(fan_in) = 1 / 8; a normal one of deviation 1 / 4 isn't."""
    most = {}
    for init in ("default", "gaussian"):
        torch.manual_seed(0)
        policy = make_policy(make_config(tiny_model, rows, {"kind": "lora", "rank": 4, "init": init}))
        most[init] = (
            policy.causal.model.layers[0].self_attn.q_proj.lora_A["default"].weight.abs().max().item()
        )
    assert most["default"] <= 1 / HIDDEN**0.5 + 1e-6
    assert most["gaussian"] > 1 / 4


# Dtypes


@pytest.mark.parametrize("kind", [*METHODS])
@pytest.mark.parametrize(
    ("precision", "dtype", "trainable", "frozen"),
    [
        ("bf16", "bfloat16", FP32, BF16),
        ("bf16", "float32", FP32, FP32),
        ("pure_bf16", "bfloat16", BF16, BF16),
        ("fp32", "bfloat16", FP32, FP32),
    ],
)
def test_trainable_and_frozen_weights_have_the_dtypes_that_precision_says(
    tiny_model: Path,
    rows: Path,
    kind: str,
    precision: str,
    dtype: str,
    trainable: torch.dtype,
    frozen: torch.dtype,
) -> None:
    policy = make_policy(make_config(tiny_model, rows, kind, precision=precision, dtype=dtype))
    weights = list(policy.model.parameters())
    assert {p.dtype for p in weights if p.requires_grad} == {trainable}
    # bitsandbytes packs two 4-bit weights into a byte, and holds 8-bit ones as int8.
    kept = {p.dtype for p in weights if not p.requires_grad} - {torch.uint8, torch.int8}
    assert kept == (set() if kind == "full" else {frozen})


@pytest.mark.parametrize("kind", [*METHODS])
def test_evaluating_scores_the_weights_in_the_dtype_they_are_saved_in_and_restores_the_trained_ones(
    tiny_model: Path, rows: Path, kind: str
) -> None:
    policy = make_policy(make_config(tiny_model, rows, kind))
    policy.model.train()
    before = {name: p.detach().clone() for name, p in policy.model.named_parameters() if p.requires_grad}
    with policy.evaluating():
        assert {p.dtype for p in policy.model.parameters() if p.requires_grad} == {BF16}
        assert not torch.is_grad_enabled()
        assert not policy.model.training
    assert policy.model.training
    for name, parameter in policy.model.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_evaluating_restores_a_trainers_wrapper_of_the_forward_pass(
    tiny_model: Path, rows: Path, kind: str
) -> None:
    policy = make_policy(make_config(tiny_model, rows, kind))
    own, wrapped = policy.model.forward, lambda *args, **kwargs: "the trainer's"
    policy.model.forward = wrapped
    with policy.evaluating():
        assert policy.model.forward == own
    assert policy.model.forward is wrapped


@pytest.mark.parametrize("kind", ["qlora-4bit", "qlora-8bit"])
def test_trl_leaves_the_adapters_of_a_quantized_model_in_fp32(
    tiny_model: Path, rows: Path, kind: str
) -> None:
    """TRL casts them to bf16 when it makes the trainer; they are fp32 again when the first step is taken."""
    seen: list[set[torch.dtype]] = []
    policy = make_policy(make_config(tiny_model, rows, kind))
    adapters = [p for p in policy.model.parameters() if p.requires_grad]
    with keeping_trainable_dtype(policy.model):
        for adapter in adapters:
            adapter.data = adapter.data.to(BF16)
    assert {adapter.dtype for adapter in adapters} == {FP32}
    trainer = trainer_of(make_config(tiny_model, rows, kind), policy)
    seen.append({p.dtype for p in trainer.model.parameters() if p.requires_grad})
    assert seen == [{FP32}]


def trainer_of(config: TrialConfig, policy: Policy) -> Any:
    from trainables.data import loading
    from trainables.training.trainer_setup import clean_process, training_arguments

    clean_process()
    parts = loading.load(config.data)
    options = training_arguments(config.train, 2, Path("/nonexistent"), workers=1, device="cpu")
    return config.stage.trainer(policy, parts.train, config.train, config.data.cutoff, options)


# Optimizer


def test_loraplus_gives_b_its_own_learning_rate(tiny_model: Path, rows: Path) -> None:
    method = LoRA(loraplus_ratio=16)
    policy = make_policy(make_config(tiny_model, rows, method.model_dump()))
    optimizer = method.optimizer(policy.model, torch.optim.AdamW, {"lr": 1e-4, "weight_decay": 0.1})
    assert optimizer is not None
    names = {id(p): name for name, p in policy.model.named_parameters()}
    rates: dict[str, set[float]] = {"lora_A": set(), "lora_B": set()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            rates["lora_A" if "lora_A" in names[id(parameter)] else "lora_B"].add(group["lr"])
    assert [*rates["lora_A"]] == [1e-4]
    assert [*rates["lora_B"]] == [pytest.approx(16e-4)]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(trained(policy))


def test_loraplus_reaches_the_trial(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    """B starts at zero, and Adam's first step is the learning rate: B ends up 16 times as large."""
    from safetensors.torch import load_file

    largest = {}
    for ratio in (None, 16):
        method = {"kind": "lora", "rank": 4, "targets": ["q_proj"], "loraplus_ratio": ratio}
        config = make_config(tiny_model, rows, method, steps=1, precision="fp32")
        run(config, tmp_path)
        weights = load_file(tmp_path / "trials" / config.trial_id() / "model" / "adapter_model.safetensors")
        largest[ratio] = max(w.abs().max().item() for name, w in weights.items() if "lora_B" in name)
    assert largest[None] == pytest.approx(1e-3, rel=0.01)
    assert largest[16] == pytest.approx(16e-3, rel=0.01)


@pytest.mark.parametrize("kind", ["full", "freeze", "lora", "qlora-4bit"])
def test_other_methods_leave_the_optimizer_to_the_trainer(tiny_model: Path, rows: Path, kind: str) -> None:
    config = make_config(tiny_model, rows, kind)
    assert config.method is not None
    assert config.method.optimizer(nn.Linear(1, 1), torch.optim.AdamW, {"lr": 1e-4}) is None


# Quantization


@pytest.mark.parametrize(("kind", "linear"), [("qlora-4bit", "Linear4bit"), ("qlora-8bit", "Linear8bitLt")])
def test_qlora_really_quantizes_every_linear_layer_but_the_head(
    tiny_model: Path, rows: Path, kind: str, linear: str
) -> None:
    config = make_config(tiny_model, rows, kind)
    base = load_base(config, tiny_model)
    quantized = [name for name, module in base.named_modules() if type(module).__name__ == linear]
    assert len(quantized) == LAYERS * len(LINEAR)
    assert type(base.lm_head) is nn.Linear


@pytest.mark.parametrize(("quant_type", "double"), [("nf4", True), ("fp4", True), ("nf4", False)])
def test_the_four_bit_format_is_the_requested_one(
    tiny_model: Path, rows: Path, quant_type: str, double: bool
) -> None:
    method = {"kind": "qlora", "quant_type": quant_type, "double_quant": double}
    base = load_base(make_config(tiny_model, rows, method), tiny_model)
    state = base.model.layers[0].self_attn.q_proj.weight.quant_state
    assert state.quant_type == quant_type
    assert (state.state2 is not None) == double


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_qlora_refuses_an_init_that_needs_unquantized_weights(init: str) -> None:
    from trainables.methods import QLoRA

    with pytest.raises(ValidationError, match="use init: default or method lora"):
        QLoRA.model_validate({"init": init})


# The reference policy


@pytest.mark.parametrize("kind", ["lora", "qlora-4bit", "qlora-8bit"])
def test_lora_reference_policy_equals_the_base_model(tiny_model: Path, rows: Path, kind: str) -> None:
    """Before training and after it."""
    config = make_config(tiny_model, rows, kind, learning_rate=0.1)
    assert config.method is not None
    before = base_logits(config)
    policy = make_policy(config)
    for steps in (0, 2):
        if steps:
            trainer_of(config, policy).train()
            assert not torch.allclose(logits(policy), before, atol=1e-2)
        with policy.evaluating(), config.method.reference(policy.model) as reference:
            found = reference(input_ids=some_ids()).logits.float()
        assert torch.equal(found, before)


def base_logits(config: TrialConfig) -> Tensor:
    assert config.model.path is not None
    base = load_base(config, config.model.path)
    keep_cpu_gradients_correct(base)
    with torch.no_grad():
        return base.eval()(input_ids=some_ids()).logits.float()


def test_leaving_the_reference_switches_the_adapters_on_again(tiny_model: Path, rows: Path) -> None:
    config = make_config(tiny_model, rows, "lora", learning_rate=0.1)
    assert config.method is not None
    policy = make_policy(config)
    trainer_of(config, policy).train()
    before = logits(policy)
    with config.method.reference(policy.model):
        pass
    assert torch.equal(logits(policy), before)


@pytest.mark.parametrize(
    ("method", "stays"),
    [
        ({"kind": "full"}, False),
        ({"kind": "freeze"}, False),
        ({"kind": "lora"}, True),
        ({"kind": "lora", "dora": True}, True),
        ({"kind": "lora", "init": "gaussian"}, True),
        ({"kind": "lora", "init": "pissa"}, False),
        ({"kind": "lora", "init": "olora"}, False),
        ({"kind": "lora", "modules_to_save": ["lm_head"]}, False),
        ({"kind": "qlora"}, True),
        ({"kind": "qlora", "bits": 8}, True),
    ],
)
def test_reference_stays_says_whether_the_untrained_policy_is_still_available(
    tiny_model: Path, rows: Path, method: dict[str, Any], stays: bool
) -> None:
    config = make_config(tiny_model, rows, method)
    assert config.method is not None
    assert config.method.reference_stays is stays


# What is left on disk

SAVED = {
    **METHODS,
    "dora": {"kind": "lora", "rank": 4, "dora": True},
    "rslora": {"kind": "lora", "rank": 4, "rslora": True},
    "pissa": {"kind": "lora", "rank": 4, "init": "pissa"},
    "pissa rslora": {"kind": "lora", "rank": 4, "init": "pissa", "rslora": True},
    "olora": {"kind": "lora", "rank": 4, "init": "olora"},
    "lora with the head": {"kind": "lora", "rank": 4, "modules_to_save": ["lm_head"]},
    "freeze with the head": {"kind": "freeze", "layers": 1, "head": True},
}


@pytest.mark.parametrize(
    ("name", "precision", "tied"),
    [
        *((name, "bf16", True) for name in SAVED),
        *((name, "pure_bf16", True) for name in ("full", "lora", "pissa")),
        *((name, "fp32", True) for name in METHODS),
        *((name, "fp32", True) for name in ("pissa", "pissa rslora", "olora")),
        *((name, "bf16", False) for name in ("full", "lora with the head", "freeze with the head")),
    ],
)
def test_what_a_trial_saves_loads_with_plain_libraries_and_answers_the_same(
    tiny_model: Path, untied_model: Path, rows: Path, tmp_path: Path, name: str, precision: str, tied: bool
) -> None:
    method = SAVED[name]
    model = tiny_model if tied else untied_model
    config = make_config(model, rows, method, precision=precision, learning_rate=1e-2)
    record, policy = run_and_keep(config, tmp_path)
    assert record.status == "done"
    expected = logits(policy)
    before = logits(make_policy(make_config(model, rows, None, precision=precision)))
    assert (expected - before).abs().max() > 0.02  # training did something
    found = reloaded_logits(config, tmp_path / "trials" / config.trial_id() / "model")
    # PEFT computes adapters in fp32 unless told otherwise, and plain 4-bit layers may round to bf16 on a CPU.
    exact = method["kind"] in ("full", "freeze")
    close = 0.0 if exact else 1e-4 if precision == "fp32" and method["kind"] == "lora" else 2e-2
    torch.testing.assert_close(found, expected, atol=close, rtol=0)


def run_and_keep(config: TrialConfig, folder: Path) -> tuple[Any, Policy]:
    """The record, and the policy as it was when the trial saved it."""
    from trainables.runner import lifecycle

    kept: list[Policy] = []
    save = lifecycle._save

    def keeping(trial: Any, policy: Policy) -> None:
        save(trial, policy)
        kept.append(policy)

    lifecycle._save = keeping
    try:
        record = run(config, folder)
    finally:
        lifecycle._save = save
    return record, kept[0]


def reloaded_logits(config: TrialConfig, folder: Path) -> Tensor:
    from peft import PeftModel
    from transformers import AutoTokenizer

    assert config.method is not None
    assert AutoTokenizer.from_pretrained(folder).chat_template is not None
    kinds = choose_dtypes(config.train.precision, config.model.dtype)
    if (folder / "adapter_config.json").exists():
        base = AutoModelForCausalLM.from_pretrained(
            config.model.path, dtype=kinds.frozen, **config.method.load_options(kinds)
        )
        model: Any = PeftModel.from_pretrained(base, folder)
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        return model.eval()(input_ids=some_ids()).logits.float()


@pytest.mark.parametrize("kind", ["full", "freeze", "lora"])
def test_weights_are_saved_in_the_dtype_they_were_scored_in(
    tiny_model: Path, rows: Path, tmp_path: Path, kind: str
) -> None:
    from safetensors.torch import load_file

    for precision, expected in (("bf16", BF16), ("fp32", FP32)):
        config = make_config(tiny_model, rows, kind, precision=precision)
        run(config, tmp_path)
        folder = tmp_path / "trials" / config.trial_id() / "model"
        (weights,) = folder.glob("*.safetensors")
        assert {tensor.dtype for tensor in load_file(weights).values()} == {expected}
        if kind != "lora":  # loaders that follow the config take the weights as they are
            assert f"torch.{json.loads((folder / 'config.json').read_text())['dtype']}" == str(expected)


def test_the_config_of_a_model_of_several_parts_has_the_dtype_of_its_weights(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(make_family(tmp_path / "base", "gemma3", dtype="bfloat16"))
    save_whole(model, make_tokenizer(), tmp_path / "float32", FP32)
    save_whole(model.float(), make_tokenizer(), tmp_path / "bfloat16", BF16)
    for expected in ("float32", "bfloat16"):
        config = json.loads((tmp_path / expected / "config.json").read_text())
        parts = [config, *(value for value in config.values() if isinstance(value, dict))]
        found = [part["dtype"] for part in parts if "dtype" in part]
        assert len(found) > 1
        assert set(found) == {expected}


@pytest.mark.parametrize("kind", ["full", "freeze"])
def test_tied_weights_are_saved_once(tiny_model: Path, rows: Path, tmp_path: Path, kind: str) -> None:
    from safetensors.torch import load_file

    config = make_config(tiny_model, rows, kind)
    record = run(config, tmp_path)
    weights = load_file(tmp_path / "trials" / config.trial_id() / "model" / "model.safetensors")
    assert "lm_head.weight" not in weights
    assert sum(tensor.numel() for tensor in weights.values()) == record.total_params
    assert record.artifact_bytes == pytest.approx(2 * record.total_params, rel=0.05)  # bf16, and a header


def test_a_freeze_trial_does_not_change_its_frozen_weights(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    config = make_config(tiny_model, rows, {"kind": "freeze", "layers": 1}, learning_rate=1e-2)
    run(config, tmp_path)
    before = load_file(tiny_model / "model.safetensors")
    after = load_file(tmp_path / "trials" / config.trial_id() / "model" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert changed <= layer_weights(LAYERS - 1)


def test_saving_leaves_the_model_in_memory_as_it_is(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    policy = make_policy(make_config(tiny_model, rows, "full"))
    assert policy.method is not None
    policy.method.save(policy.model, policy.tokenizer, tmp_path, BF16)
    assert {p.dtype for p in policy.model.parameters()} == {FP32}
    assert policy.model.config.dtype == FP32


# What a model makes impossible


@pytest.mark.parametrize(
    ("method", "leaf"),
    [
        ({"kind": "freeze", "layers": LAYERS + 1}, "layers"),
        ({"kind": "freeze", "modules": ["attention"]}, "modules"),
        ({"kind": "lora", "targets": ["query"]}, "targets"),
        ({"kind": "lora", "targets": ["mlp"]}, "targets"),  # a container: no weight to adapt
        ({"kind": "qlora", "modules_to_save": ["head"]}, "modules_to_save"),
    ],
)
def test_a_module_that_the_model_lacks_is_a_problem_of_its_setting(
    tiny_model: Path, rows: Path, method: dict[str, Any], leaf: str
) -> None:
    config = make_config(tiny_model, rows, method)
    assert config.method is not None
    assert [found for found, _ in config.method.problems(read_architecture(tiny_model))] == [leaf]


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "freeze", "layers": LAYERS, "modules": ["mlp", "layers.0", "norm", "lm_head"]},
        {"kind": "lora", "targets": ["q_proj", "mlp.up_proj"], "modules_to_save": ["lm_head"]},
    ],
)
def test_a_module_that_the_model_has_is_no_problem(
    tiny_model: Path, rows: Path, method: dict[str, Any]
) -> None:
    config = make_config(tiny_model, rows, method)
    assert config.method is not None
    assert list(config.method.problems(read_architecture(tiny_model))) == []


def found_problems(model: Path, rows: Path, method: dict[str, Any], **settings: Any) -> list[str]:
    """The problems of a method with a model, as ``setting: message``."""
    config = make_config(model, rows, method, **settings)
    assert config.method is not None
    trained = read_architecture(model).trained_for(config.stage.task)
    return [f"{leaf}: {what}" for leaf, what in config.method.problems(trained)]


THERE = "adapters can be put on down_proj, embed_tokens, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj"


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ([], f"the list is empty, so that nothing would get an adapter; {THERE}, or on all-linear"),
        (
            ["q_proj", "v_porj"],
            f"no module 'v_porj' in the model. Did you mean v_proj? A{THERE[1:]}, or on all-linear",
        ),
        (
            ["post_attention_layernorm"],
            "post_attention_layernorm is no linear layer, embedding or convolution, so that no adapter can be put "
            f"on it; {THERE}, or on all-linear",
        ),
        (
            ["q_proj", "self_attn"],
            f"self_attn contains modules, so that no adapter can be put on it; {THERE}, or on all-linear",
        ),
        (
            ["layers.1"],
            f"layers.1 contains modules, so that no adapter can be put on it; {THERE}, or on all-linear",
        ),
        (
            [".*k_proj"],
            f"no module '.*k_proj' in the model; {THERE}, or on all-linear; as a pattern it matches {LAYERS}: for "
            "that write it as a text, targets: '.*k_proj'",
        ),
        ("q_proj, k_proj", f". Did you mean the list [q_proj, k_proj]? A{THERE[1:]}, or on all-linear"),
        ("v_proj", f". Did you mean the list [v_proj]? A{THERE[1:]}, or on all-linear"),
        ("all", f". Did you mean all-linear? A{THERE[1:]}, or on all-linear"),
        ("all-linaer", f". Did you mean all-linear? A{THERE[1:]}, or on all-linear"),
        (
            "(q_proj",
            "'(q_proj' can't be used as a regular expression: missing ), unterminated subpattern at position 0; "
            f"{THERE}, or on all-linear",
        ),
        (
            ".*(q_proj|norm)",
            "'.*(q_proj|norm)' matches model.layers.0.input_layernorm, model.layers.0.post_attention_layernorm, "
            f"model.layers.1.input_layernorm and {2 * LAYERS - 2} more, which is no linear layer, embedding or "
            f"convolution, so that no adapter can be put on it; {THERE}, or on all-linear",
        ),
    ],
)
def test_targets_that_no_adapter_can_be_put_on_are_refused_with_what_there_is(
    tiny_model: Path, rows: Path, targets: Any, expected: str
) -> None:
    (problem,) = found_problems(tiny_model, rows, {"kind": "lora", "targets": targets})
    assert problem.startswith("targets: ")
    assert problem.endswith(expected)


@pytest.mark.parametrize(
    ("targets", "saved", "expected"),
    [
        (["q_proj", "embed_tokens"], ["embed_tokens"], "embed_tokens is in modules_to_save too, which trains it"),
        (["q_proj"], ["q_proj"], "q_proj is in modules_to_save too, which trains it whole, without an adapter"),
        (".*q_proj", ["q_proj"], "'.*q_proj' matches only what modules_to_save trains whole"),
    ],
)  # fmt: skip
def test_a_module_is_trained_whole_or_gets_an_adapter_and_not_both(
    tiny_model: Path, rows: Path, targets: Any, saved: list[str], expected: str
) -> None:
    method = {"kind": "lora", "targets": targets, "modules_to_save": saved}
    (problem,) = found_problems(tiny_model, rows, method)
    assert problem.startswith(f"targets: {expected}")


@pytest.mark.parametrize(
    ("targets", "saved"),
    [
        ("all-linear", []),
        ("all-linear", ["q_proj", "lm_head"]),
        (["embed_tokens"], []),
        (["lm_head"], []),
        (["layers.0.self_attn.q_proj"], []),
        (["model.layers.1.mlp.up_proj", "k_proj"], ["embed_tokens"]),
        (".*_proj", ["down_proj"]),
        (r"model\.layers\.[01]\..*\.(q|v)_proj", []),
        ([], []),
        ("", []),
        ([""], []),
        ("q_proj", []),
        ("[", []),
        ([".*_proj"], []),
        (["proj"], []),
        (["layers"], []),
        (["mlp"], []),
        (["norm"], []),
        (["input_layernorm"], []),
        (".*", []),
        (".*norm", []),
        (["q_proj"], ["q_proj"]),
        ([], ["lm_head"]),
    ],
)
def test_targets_are_judged_as_peft_judges_them(
    tiny_model: Path, rows: Path, targets: Any, saved: list[str]
) -> None:
    method = {"kind": "lora", "targets": targets, "modules_to_save": saved}
    problems = found_problems(tiny_model, rows, method)
    try:
        make_policy(make_config(tiny_model, rows, method))
        accepted = True
    except Exception:  # of several classes, among them re.error
        accepted = False
    assert (problems == []) == accepted


@pytest.fixture(scope="module")
def moe_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of four experts, each with weights of its own in the file; the tokenizer is the tiny model's."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    path = tmp_path_factory.mktemp("models") / "moe"
    shutil.copytree(tiny_model, path)
    config = Qwen3MoeConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=32,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        num_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=256,
        eos_token_id=2,
    )
    Qwen3MoeForCausalLM(config).to(torch.bfloat16).save_pretrained(path)
    return path


@pytest.mark.parametrize(
    "targets",
    [
        ["q_proj"],
        ["gate"],
        ["down_proj"],
        ["gate_proj", "up_proj"],
        ["q_proj", "gate_proj"],
        ["up_proj"],
        ["experts"],
        ["w1"],
        ".*_proj",
        ".*gate_proj",
    ],
)
def test_experts_are_judged_as_peft_judges_them(moe_model: Path, rows: Path, targets: Any) -> None:
    method = {"kind": "lora", "targets": targets}
    problems = found_problems(moe_model, rows, method)
    try:
        make_policy(make_config(moe_model, rows, method))
        accepted = True
    except ValueError:
        accepted = False
    assert (problems == []) == accepted


def test_a_pattern_that_takes_forever_is_refused_in_seconds(
    tiny_model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora_targets, "MATCHING_SECONDS", 1)
    for targets in ("(.+)+!", ["(.+)+?"]):
        (problem,) = found_problems(tiny_model, rows, {"kind": "lora", "targets": targets})
        assert ("takes more than 1 seconds" if isinstance(targets, str) else "no module") in problem


def test_a_reward_model_has_no_head_to_put_an_adapter_on(tiny_model: Path, rows: Path) -> None:
    (problem,) = found_problems(
        tiny_model, rows, {"kind": "lora", "targets": ["lm_head"]}, stage={"kind": "reward"}
    )
    assert problem.startswith("targets: no module 'lm_head' in the model; adapters can be put on down_proj,")


def test_a_pattern_puts_adapters_on_what_it_matches(tiny_model: Path, rows: Path) -> None:
    policy = make_policy(make_config(tiny_model, rows, {"kind": "lora", "targets": r".*\.[01]\..*[qv]_proj"}))
    adapted = {name.split(".lora_")[0] for name, p in policy.model.named_parameters() if p.requires_grad}
    assert {name.removeprefix("base_model.model.") for name in adapted} == {
        f"model.layers.{layer}.self_attn.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")
    }


def test_a_module_to_save_is_no_other_whose_name_ends_in_the_same_letters(
    tiny_model: Path, rows: Path
) -> None:
    method = {"kind": "lora", "targets": ["q_proj"], "modules_to_save": ["norm"]}
    policy = make_policy(make_config(tiny_model, rows, method))
    whole = {name for name, p in policy.model.named_parameters() if p.requires_grad and "lora_" not in name}
    assert whole == {"base_model.model.model.norm.modules_to_save.default.weight"}


def test_a_module_that_cannot_train_whole_is_refused(tiny_model: Path, rows: Path) -> None:
    assert found_problems(tiny_model, rows, {"kind": "lora", "modules_to_save": ["mlp"]}) == [
        "modules_to_save: mlp contains modules; name those; it has down_proj, embed_tokens, gate_proj, "
        "input_layernorm, k_proj, lm_head, norm, o_proj, post_attention_layernorm, q_proj, up_proj, v_proj"
    ]
    (problem,) = found_problems(
        tiny_model, rows, {"kind": "qlora", "modules_to_save": ["up_proj", "lm_head"]}
    )
    assert (
        problem
        == "modules_to_save: up_proj is quantized, so it can't train itself; give it an adapter (targets)"
    )


def test_freezing_everything_is_refused() -> None:
    from trainables.methods import Freeze

    with pytest.raises(ValidationError, match="nothing would train"):
        Freeze(layers=0)


# bitsandbytes on a CPU


def has_avx512_bf16() -> bool:
    info = Path("/proc/cpuinfo")
    return info.exists() and "avx512_bf16" in info.read_text()


def lora_gradients(policy: Policy) -> Tensor:
    """The gradient of the loss on fixed tokens, all adapters in one vector."""
    policy.model.train()
    policy.model.zero_grad()
    ids = some_ids()
    with torch.autocast("cpu", dtype=BF16):
        policy.model(input_ids=ids, labels=ids).loss.backward()
    return torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.requires_grad])


def four_bit_policy(model: Path, rows: Path, fixed: bool) -> Policy:
    torch.manual_seed(0)
    policy = make_policy(make_config(model, rows, "qlora-4bit"))
    with torch.no_grad():  # B starts at zero, and then A has no gradient to compare
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    if not fixed:
        for module in policy.model.modules():
            vars(module).pop("forward", None)  # as PEFT's own layers compute
            if type(module).__name__ == "Linear4bit":
                module.support_avx512bf16_for_cpu = True
    return policy


def evaluate(policy: Policy) -> None:
    with policy.evaluating():
        policy.model(input_ids=some_ids())


def generate(policy: Policy) -> None:
    with policy.evaluating():
        policy.causal.generate(input_ids=some_ids(), max_new_tokens=2, do_sample=False)


@pytest.fixture(scope="module")
def wide_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every dimension of a linear layer a multiple of 64, as the repacking kernel wants it."""
    return make_model(tmp_path_factory.mktemp("models") / "wide", hidden=256)


@pytest.mark.parametrize("before", [evaluate, generate])
def test_four_bit_gradients_are_the_same_after_an_evaluation_or_a_generation(
    wide_model: Path, rows: Path, before: Any
) -> None:
    policy = four_bit_policy(wide_model, rows, fixed=True)
    expected = lora_gradients(policy)
    before(policy)
    assert torch.cosine_similarity(lora_gradients(policy), expected, dim=0) > 0.999


@pytest.mark.skipif(not has_avx512_bf16(), reason="the repacking kernel needs a CPU with avx512_bf16")
def test_without_the_fix_four_bit_gradients_are_wrong_after_an_evaluation(
    wide_model: Path, rows: Path
) -> None:
    """The trouble that the fix is for; once this fails, bitsandbytes may have learnt better."""
    policy = four_bit_policy(wide_model, rows, fixed=False)
    expected = lora_gradients(policy)
    evaluate(policy)
    assert torch.cosine_similarity(lora_gradients(policy), expected, dim=0) < 0.9


def test_a_four_bit_trial_trains_the_same_whether_it_is_evaluated_on_the_way_or_not(
    wide_model: Path, rows: Path, tmp_path: Path
) -> None:
    from tests.helpers.trials import curve

    plain = make_config(wide_model, rows, "qlora-4bit", steps=4)
    evaluated = make_config(wide_model, rows, "qlora-4bit", steps=4, eval_steps=1)
    run(plain, tmp_path)
    run(evaluated, tmp_path, control=ScriptedControl())
    assert curve(evaluated, tmp_path, "grad_norm") == curve(plain, tmp_path, "grad_norm")
