"""Adapters of experts, whose layers share tensors: what is covered, merged, refused, recorded and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.planning import plan
from sweeps.spec.spec import read
from tests.helpers.evaluations import evaluation, metrics
from tests.helpers.exports import export_successfully
from tests.helpers.model_families import make_family
from tests.helpers.small_runs import make_run, trial_id_of
from tests.helpers.sweeps import SMALL, write_spec
from tests.helpers.trials import ScriptedControl, curve, make_config, run, write_rows
from trainables.methods import LoRA
from trainables.methods.adapter_targets import adapter_layers, adapter_targets
from trainables.methods.weight_shares import left_out
from trainables.models.architecture.blueprint import blueprint
from trainables.models.architecture.weight_reader import model_weights
from trainables.models.merge_adapter import merge_adapter
from trainables.models.precision import choose_dtypes
from trainables.results import Record, write_tables
from trainables.runner.run import TrialContext, run_trial
from trainables.trial.starting_weights import _merge

FP32 = choose_dtypes("fp32", "float32")
IDS = torch.randint(0, 500, (2, 16), generator=torch.Generator().manual_seed(0))
# Experts alone, with shared ones and dense first layers, with routers of many classes, turned, in attention.
FAMILIES = [
    "qwen3_moe",
    "mixtral",
    "gpt_oss",
    "deepseek_v3",
    "granitemoe",
    "hunyuan_v1_moe",
    "llama4_text",
    "jetmoe",
]
Family = Callable[[str], Path]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Family:
    made: dict[str, Path] = {}
    parent = tmp_path_factory.mktemp("families")

    def make(kind: str) -> Path:
        if kind not in made:
            made[kind] = make_family(parent / kind, kind)
        return made[kind]

    return make


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


def load(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS, use_cache=False).logits.float()


def trained_adapter(folder: Path, method: LoRA) -> Any:
    """The model with an adapter that does something."""
    policy: Any = method.attach(load(folder), FP32)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.05 * torch.randn(parameter.shape, generator=generator))
    return policy


def fp32_config(folder: Path, rows: Path, method: Any = "lora", **leaves: Any) -> Any:
    return make_config(folder, rows, method, precision="fp32", dtype="float32", **leaves)


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_adapter_covers_every_layer_and_expert_and_is_merged_into_each(
    family: Family, tmp_path: Path, kind: str
) -> None:
    base = load(family(kind))
    policy = trained_adapter(family(kind), LoRA(rank=4))
    adapted = {name for name, _ in adapter_layers(policy)}
    # What is left: routers, norms and biases. gpt-oss has biases of its experts.
    others = [w for w in model_weights(base) if w.full_name not in adapted and w.kind != "embedding"]
    assert not [w for w in others if w.form in ("linear", "experts") and w.kind != "router"]
    assert sum(w.count for w in others) < 0.03 * sum(w.count for w in model_weights(base))
    own = logits(policy)
    assert not torch.allclose(own, logits(base), rtol=0.01)
    policy.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(load(family(kind)), str(tmp_path / "adapter"))
    assert torch.equal(logits(again), own)
    merge_adapter(policy).save_pretrained(tmp_path / "merged")
    merged = logits(load(tmp_path / "merged"))
    assert float((merged - own).abs().max()) < 1e-5 * float(own.abs().max())


def test_every_expert_is_trained(family: Family) -> None:
    policy: Any = LoRA(rank=4).attach(load(family("qwen3_moe")), FP32)
    policy(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    factors = [p for name, p in policy.named_parameters() if "experts" in name and "lora_B" in name]
    assert len(factors) == 2 * policy.config.num_hidden_layers
    for factor in factors:
        # (outputs, rank x experts): each expert had a token.
        gradients = factor.grad.reshape(factor.shape[0], 4, -1).abs().sum((0, 1))
        assert len(gradients) == policy.config.num_experts
        assert (gradients > 0).all()


def test_merging_into_16_bits_rounds_each_sum_once(family: Family, tmp_path: Path) -> None:
    policy = trained_adapter(family("qwen3_moe"), LoRA(rank=4))
    policy.save_pretrained(tmp_path / "adapter")
    exact = merge_adapter(policy)
    base = load(family("qwen3_moe"), torch.bfloat16)
    rounded = merge_adapter(PeftModel.from_pretrained(base, str(tmp_path / "adapter")))
    start = load(family("qwen3_moe"))
    for name, weight in rounded.named_parameters():
        if name.endswith(("experts.gate_up_proj", "q_proj.weight")):
            change = exact.get_parameter(name) - start.get_parameter(name)
            whole = start.get_parameter(name).bfloat16().float() + change
            assert weight.dtype == torch.bfloat16
            torch.testing.assert_close(weight, whole.bfloat16(), rtol=2**-7, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "targets", "modules", "parameters"),
    [
        ("deepseek_v3", ["shared_experts.up_proj"], {"up_proj"}, set()),
        ("deepseek_v3", ["gate_proj", "up_proj"], {"gate_proj", "up_proj"}, {"gate_up_proj"}),
        ("deepseek_v3", ["experts"], set(), {"gate_up_proj", "down_proj"}),
        ("qwen3_moe", ["q_proj", "gate_up_proj"], {"q_proj"}, {"gate_up_proj"}),
        ("qwen3_moe", ["gate"], set(), {"weight"}),
        ("qwen3_moe", r".*\.experts\.down_proj", set(), {"down_proj"}),
        ("mixtral", ["w1", "w3", "w2"], set(), {"gate_up_proj", "down_proj"}),
    ],
)
def test_names_and_patterns_mean_layers_and_experts(
    family: Family, kind: str, targets: Any, modules: set[str], parameters: set[str]
) -> None:
    found = adapter_targets(targets, model_weights(load(family(kind))))
    assert {name.rpartition(".")[2] for name in found.modules} == modules
    assert {name.rpartition(".")[2] for name in found.parameters} == parameters


def test_half_of_a_joined_tensor_is_refused(family: Family) -> None:
    with pytest.raises(ValueError, match="gate_proj is one tensor with up_proj in this model's experts"):
        adapter_targets(["gate_proj"], model_weights(load(family("qwen3_moe"))))


@pytest.mark.parametrize(("kind", "share"), [("phimoe", 0.97), ("hunyuan_v1_moe", 0.97)])
def test_routers_of_every_class_stay_as_they_are_and_training_in_bf16_works(
    family: Family, rows: Path, tmp_path: Path, kind: str, share: float
) -> None:
    record = run(make_config(family(kind), rows, "lora"), tmp_path)
    assert record.status == "done"
    adapted = {name: part["adapted"] for name, part in record.weight_shares.items()}
    assert adapted.get("router", 0) == 0
    assert sum(adapted.values()) > share
    assert record.weight_shares["experts"]["adapted"] == record.weight_shares["experts"]["all"]


@pytest.mark.parametrize("method", ["full", "freeze"])
def test_experts_train_whole(family: Family, rows: Path, tmp_path: Path, method: str) -> None:
    config = fp32_config(
        family("qwen3_moe"), rows, {"kind": "freeze", "layers": 1} if method == "freeze" else "full"
    )
    record = run(config, tmp_path)
    experts = record.weight_shares["experts"]
    assert experts["trained"] == pytest.approx(experts["all"] / (1 if method == "full" else 4))
    assert sum(part["all"] for part in record.weight_shares.values()) == pytest.approx(1)
    before, after = load(family("qwen3_moe")), load(tmp_path / "trials" / config.trial_id() / "model")
    changed = [
        not torch.equal(weight, after.get_parameter(name))
        for name, weight in before.named_parameters()
        if "experts" in name
    ]
    assert changed == ([True] * 8 if method == "full" else [False] * 6 + [True] * 2)


def test_a_trial_goes_on_from_its_checkpoint_and_another_from_its_adapter(
    family: Family, rows: Path, tmp_path: Path
) -> None:
    config = fp32_config(family("deepseek_v3"), rows, steps=3, save_steps=1)
    whole = run(config, tmp_path / "whole")
    interrupted = run(config, tmp_path / "parts", control=ScriptedControl(interrupt_at=2))
    assert interrupted.status == "interrupted"
    resumed = run(config, tmp_path / "parts")
    assert (resumed.status, resumed.metrics) == ("done", whole.metrics)
    assert curve(config, tmp_path / "parts") == curve(config, tmp_path / "whole")
    adapter = tmp_path / "whole" / "trials" / config.trial_id() / "model"
    own = logits(PeftModel.from_pretrained(load(family("deepseek_v3")), str(adapter)))
    _merge(adapter, tmp_path / "whole", tmp_path / "merged", unsafe=())
    assert float((logits(load(tmp_path / "merged")) - own).abs().max()) < 1e-5 * float(own.abs().max())


def test_a_trial_that_an_earlier_version_began_goes_on_with_the_layers_it_adapted(
    family: Family, rows: Path, tmp_path: Path
) -> None:
    earlier: Any = LoRA(rank=4, targets=("q_proj", "v_proj")).attach(load(family("qwen3_moe")), FP32)
    earlier.save_pretrained(tmp_path / "checkpoint")
    policy: Any = LoRA(rank=4).attach(load(family("qwen3_moe")), FP32, tmp_path / "checkpoint")
    names = {name.rpartition(".")[0].rpartition(".")[2] for name, _ in adapter_layers(policy)}
    assert names == {"q_proj", "v_proj"}


def test_an_adapter_of_experts_is_exported_and_checked(family: Family, rows: Path, tmp_path: Path) -> None:
    config = fp32_config(family("deepseek_v2"), rows, learning_rate=1e-2)
    run(config, tmp_path / "run")
    write_tables(tmp_path / "run")
    name = f"{tmp_path / 'run'}:{config.trial_id()}"
    command = export_successfully(name, tmp_path / "out", "--dtype", "float32")
    assert "differ" not in command.stderr
    adapter = tmp_path / "run" / "trials" / config.trial_id() / "model"
    own = logits(PeftModel.from_pretrained(load(family("deepseek_v2")), str(adapter)))
    exported = logits(load(tmp_path / "out"))
    assert float((exported - own).abs().max()) < 1e-5 * float(own.abs().max())
    assert any("experts" in key for key in load_file(adapter / "adapter_model.safetensors"))


@pytest.mark.slow
def test_an_adapter_of_gpt_oss_answers_is_measured_and_exported_by_commands(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run_folder = make_run(tmp_path, family("gpt_oss"), ("lora",))
    trained = f"{run_folder}:sft-lora"
    adapter = run_folder / "trials" / trial_id_of(run_folder, "sft-lora") / "model"
    assert any("experts" in key for key in load_file(adapter / "adapter_model.safetensors"))
    answered = CliRunner().invoke(app, ["chat", trained, "--max-new-tokens", "4"], input="wake me at 7\n")
    assert answered.exit_code == 0, answered.output
    assert answered.stdout.strip()
    evaluated = evaluation(trained, "--max-new-tokens", "4")
    assert metrics(evaluated)["loss"] > 0
    export_successfully(trained, tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("kind", "bits"),
    [("falcon", 4), ("opt", 4), ("gemma4_text", 4), ("gemma3n_text", 4), ("bamba", 8), ("youtu", 8)],
)
def test_layers_of_their_own_classes_and_models_with_many_embeddings_are_quantized(
    family: Family, rows: Path, tmp_path: Path, kind: str, bits: int
) -> None:
    config = make_config(family(kind), rows, {"kind": "qlora", "rank": 4, "bits": bits})
    record = run_trial(config, TrialContext(tmp_path))
    assert record.status == "done", record.error
    assert sum(part["quantized"] for part in record.weight_shares.values()) > 0.8
    assert record.quantized_layers


def plan_problems(folder: Path, tmp_path: Path, method: str) -> tuple[list[str], list[str]]:
    """The errors and the warnings of a plan with one method, each with its setting."""
    path = write_spec(tmp_path, folder, SMALL)
    made = plan.make(read(path, [f"methods=[{method}]"]))
    errors, warnings = (
        [f"{problem.path}: {problem.what}" for problem in made.problems if problem.error == error]
        for error in (True, False)
    )
    return errors, warnings


@pytest.mark.parametrize(
    ("kind", "method", "error"),
    [
        ("qwen3_moe", "{kind: lora}", None),
        ("qwen3_moe", "{kind: lora, dora: true}", "methods[0].dora: the model's experts share their tensors"),
        ("qwen3_moe", "{kind: lora, dora: true, targets: [q_proj]}", None),
        (
            "gpt_oss",
            "{kind: lora, dropout: 0.1}",
            "methods[0].dropout: the model's experts share their tensors",
        ),
        ("mixtral", "{kind: lora, init: pissa}", "methods[0].init: the model's experts share their tensors"),
        (
            "qwen3_moe",
            "{kind: qlora}",
            "methods[0].bits: only 33 % of the decoder's weights are in linear layers",
        ),
        (
            "qwen3_moe",
            "{kind: lora, targets: [up_proj]}",
            "methods[0].targets: up_proj is one tensor with gate_proj",
        ),
        (
            "qwen3_moe",
            "{kind: lora, targets: [nothing]}",
            "methods[0].targets: no module 'nothing' in the model",
        ),
        # One layer in several places, which loading takes apart; layers whose weight the model's code changes.
        ("zamba", "{kind: qlora}", "methods[0].bits: only 10 of 17 linear layers were quantized"),
        ("rwkv", "{kind: qlora}", "methods[0].bits: only 65 % of the decoder's weights are in linear layers"),
        ("git", "{kind: lora, targets: [q_proj]}", "methods[0].targets: text never reaches q_proj"),
        ("mamba2", "{kind: lora}", None),
        (
            "mamba2",
            "{kind: lora, targets: [out_proj]}",
            "methods[0].targets: PEFT puts no adapter on out_proj in models of type mamba2",
        ),
    ],
)
def test_plan_refuses_what_experts_and_states_do_not_have(
    family: Family, tmp_path: Path, kind: str, method: str, error: str | None
) -> None:
    errors, _ = plan_problems(family(kind), tmp_path, method)
    assert [text[: len(error or "")] for text in errors] == ([error] if error else []), errors


@pytest.mark.parametrize("targets", ["all-linear", ("query", "fc1"), ".*(query|fc1)"])
def test_an_adapter_is_put_on_what_text_reaches(family: Family, targets: Any) -> None:
    policy = LoRA(rank=1, targets=targets).attach(load(family("git")), FP32)
    names = [name for name, _ in adapter_layers(policy)]
    assert names
    assert all(name.startswith("git.encoder.layer.") for name in names), names  # not the tower for images


def test_plan_says_which_share_of_the_decoder_gets_no_adapter(family: Family, tmp_path: Path) -> None:
    _, warnings = plan_problems(family("mamba2"), tmp_path, "{kind: lora}")
    assert any("of the decoder (" in text and "other layers) gets no adapter" in text for text in warnings)
    _, warnings = plan_problems(family("qwen3_moe"), tmp_path, "{kind: lora}")
    assert not any("gets no adapter" in text for text in warnings)


def test_a_share_that_is_small_is_not_worth_a_word() -> None:
    shares = {
        "attention": {"all": 0.3, "adapted": 0.3},
        "experts": {"all": 0.68, "adapted": 0.0},
        "other": {"all": 0.02, "adapted": 0.0},
    }
    assert left_out(shares, "adapted") == "70 % of the decoder (68 % experts, 2 % other layers)"
    assert (
        left_out(
            {"attention": {"all": 0.98, "adapted": 0.98}, "other": {"all": 0.02, "adapted": 0}}, "adapted"
        )
        is None
    )


def test_a_record_of_an_earlier_version_has_no_shares() -> None:
    fields = {"trial_id": "a", "cell": "c", "stage": "sft", "method": "lora", "model": "m", "data": "d"}
    assert Record.model_validate({**fields, "seed": 0, "config": {}, "status": "done"}).weight_shares == {}


def test_a_config_alone_says_what_the_model_is_made_of(family: Family) -> None:
    config = json.loads((family("qwen3_moe") / "config.json").read_text())
    assert model_weights(blueprint(config)) == model_weights(load(family("qwen3_moe")))
    assert blueprint({**config, "auto_map": {"AutoModelForCausalLM": "m.M"}}) is None
    assert blueprint({"model_type": "nobody's"}) is None
