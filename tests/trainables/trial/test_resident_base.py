"""A base model that stays from trial to trial: later trials give bit for bit what they give on one of their own."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.model_families import make_family
from tests.helpers.tiny_encoders import make_encoder
from tests.helpers.trials import LETTER, NEW, ScriptedControl, make_config, write_rows
from trainables.config.model import ModelConfig
from trainables.config.trained_model import TrainedModel
from trainables.data.embedded.command_kinds import KINDS
from trainables.memory.figures import weight_bytes
from trainables.results import Record, read_curve
from trainables.runner.run import TrialContext, run_trial
from trainables.stages.rewards.rules import RULES
from trainables.training.stage_trainer import StageTrainer
from trainables.training.training_callback import Control
from trainables.trial import loading
from trainables.trial.config import TrialConfig
from trainables.trial.resident_base import ResidentBase

LORA = {"kind": "lora", "rank": 4}
QLORA = {"kind": "qlora", "rank": 4}
HQQ = {"kind": "qlora", "rank": 4, "backend": "hqq", "group_size": 32}
CLASSES = {"kind": "classification", "labels": sorted(set(KINDS.values())), "multi_label": False}
MASKED = {"kind": "pretrain", "objective": "mlm"}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    lines = [{"prompt": f"Say {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(40)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(autouse=True)
def letter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "letter", LETTER)


@pytest.fixture(autouse=True)
def loads(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Any]]:
    """The models that were loaded, of which no two are ever in memory."""
    models: list[weakref.ref[Any]] = []
    load = loading.load_base

    def watched(*arguments: Any) -> Any:
        assert not [model for model in models if model() is not None], "another base is still in memory"
        model = load(*arguments)
        models.append(weakref.ref(model))
        return model

    monkeypatch.setattr(loading, "load_base", watched)
    gc.collect()
    return models


def config_of(model: Path, data: Path | str, method: dict[str, Any] | None, **leaves: Any) -> TrialConfig:
    options = {"eval_rows": 4, "cutoff": 64, "learning_rate": 1e-2} | leaves
    return make_config(model, data, method, **options)


def run_on(bases: ResidentBase, config: TrialConfig, run: Path, control: Control | None = None) -> Record:
    record = run_trial(config, TrialContext(run, bases=bases), control)
    error = run / "trials" / config.trial_id() / "error.txt"
    assert not error.exists(), error.read_text()
    return record


def outcome(record: Record, run: Path) -> dict[str, Any]:
    """All that a trial computed: its curve, its scores by row, and what it saved."""
    folder = run / "trials" / record.trial_id
    saved = {
        f"{path.name} {name}": tensor
        for path in sorted((folder / "model").glob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }
    settings = [json.loads(path.read_text()) for path in sorted((folder / "model").glob("*config.json"))]
    for each in settings:
        if "target_modules" in each:  # a set, whose order depends on how it was filled
            each["target_modules"] = sorted(each["target_modules"])
    curve = [(point["step"], point["name"], point["value"]) for point in read_curve(folder)]
    numbers = (record.objective, record.quality, record.metrics, record.trainable_params, record.total_params)
    rows = pq.read_table(folder / "predictions.parquet").to_pylist()
    return {"curve": curve, "numbers": numbers, "rows": rows, "saved": saved, "settings": settings}


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    one, other = dict(one), dict(other)
    saved, others = one.pop("saved"), other.pop("saved")
    assert one == other
    assert saved.keys() == others.keys()
    for name, tensor in saved.items():
        assert tensor.dtype == others[name].dtype, name
        assert torch.equal(tensor, others[name]), name


def check_in_turn(configs: Sequence[TrialConfig], origins: Sequence[str], folder: Path) -> None:
    """Runs the trials one after the other: their bases have these ``origins``, and each gives what it gives alone."""
    # The trials whose bases are loaded for them are alone already.
    alone = {
        number: expected(config, folder / f"alone-{number}")
        for number, (config, origin) in enumerate(zip(configs, origins, strict=True))
        if origin != "loaded"
    }
    bases, found = ResidentBase(), []
    for number, config in enumerate(configs):
        record = run_on(bases, config, folder / "run")
        found.append(record.base_origin)
        if number in alone:
            assert_equal(outcome(record, folder / "run"), alone[number])
    assert found == list(origins)


def expected(config: TrialConfig, run: Path) -> dict[str, Any]:
    """The outcome of a trial on a base of its own."""
    return outcome(run_on(ResidentBase(keeps=False), config, run), run)


def test_adapters_of_every_kind_share_a_base(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    methods = [
        None,
        LORA | {"dora": True, "rslora": True},
        LORA | {"dropout": 0.1, "modules_to_save": ["lm_head", "norm"]},
        LORA | {"targets": ["q_proj", "embed_tokens"], "loraplus_ratio": 4, "init": "gaussian"},
        LORA | {"init": "eva"},
        LORA,
    ]
    configs = [config_of(tiny_model, rows, method) for method in methods]
    check_in_turn(configs, ["loaded"] + 5 * ["kept"], tmp_path)


def test_a_method_that_changes_the_base_takes_it_and_leaves_none(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    ia3 = {"kind": "peft", "type": "ia3"}
    taking = [LORA | {"init": "pissa"}, LORA | {"init": "olora"}, ia3]
    methods = [method for taker in taking for method in (LORA, taker)] + [{"kind": "full"}]
    configs = [config_of(tiny_model, rows, method, seed=seed) for seed, method in enumerate(methods)]
    check_in_turn(configs, 3 * ["loaded", "kept"] + ["loaded"], tmp_path)


@pytest.mark.parametrize("method", [QLORA | {"bits": 8}, HQQ], ids=["8-bit", "hqq"])
def test_quantized_bases_stay(tiny_model: Path, rows: Path, tmp_path: Path, method: dict[str, Any]) -> None:
    configs = [
        config_of(tiny_model, rows, method),
        config_of(tiny_model, rows, method | {"rank": 2}, gradient_checkpointing=True, seed=1),
    ]
    check_in_turn(configs, ["loaded", "kept"], tmp_path)


def test_stages_share_a_base_of_4_bits(tiny_model: Path, rows: Path, pairs: Path, tmp_path: Path) -> None:
    configs = [
        config_of(tiny_model, rows, QLORA, stage={"kind": "sft", "predict_with_generate": True}),
        config_of(tiny_model, pairs, QLORA, stage={"kind": "dpo"}),
        config_of(tiny_model, rows, QLORA),
    ]
    check_in_turn(configs, ["loaded", "kept", "kept"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("method", [LORA, QLORA], ids=["lora", "qlora"])
def test_ppo_samples_from_a_base_that_was_kept_and_leaves_it_as_it_was(
    tiny_model: Path, rows: Path, tmp_path: Path, method: dict[str, Any]
) -> None:
    ppo = {"kind": "ppo", "reward": "letter", "max_new_tokens": NEW}
    configs = [
        config_of(tiny_model, rows, method),
        config_of(tiny_model, rows, method, stage=ppo),
        config_of(tiny_model, rows, method | {"rank": 2}),
    ]
    check_in_turn(configs, ["loaded", "kept", "kept"], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["qwen3_moe", "gpt_oss", "mamba", "gpt2", "falcon_h1"])
def test_bases_of_other_families_stay(tmp_path: Path, rows: Path, kind: str) -> None:
    """Adapters of experts that share a tensor, states of convolutions and recurrences, transposed layers."""
    folder = make_family(tmp_path / "model", kind)
    configs = [config_of(folder, rows, LORA | {"rank": rank}) for rank in (4, 2)]
    check_in_turn(configs, ["loaded", "kept"], tmp_path)


def test_a_reward_models_new_head_is_that_of_the_seed(tiny_model: Path, pairs: Path, tmp_path: Path) -> None:
    reward = {"stage": {"kind": "reward"}}
    configs = [
        config_of(tiny_model, pairs, LORA, **reward),
        config_of(tiny_model, pairs, LORA | {"rank": 2}, **reward),
        config_of(tiny_model, pairs, LORA, seed=1, **reward),
    ]
    check_in_turn(configs, ["loaded", "kept", "loaded"], tmp_path)


def test_an_encoders_base_stays_for_each_of_its_heads(tmp_path: Path) -> None:
    model = make_encoder(tmp_path / "model", "modernbert")

    def config(stage: dict[str, Any], **leaves: Any) -> TrialConfig:
        return config_of(model, "commands", stage=stage, max_samples=60, dtype="float32", **leaves)

    configs = [
        config(CLASSES, method=LORA),
        config(CLASSES, method=LORA | {"rank": 2}),
        config(CLASSES | {"labels": CLASSES["labels"][::-1]}, method=LORA),
        config(CLASSES, method=LORA, seed=1),
        config(MASKED, method=LORA),
        config(MASKED, method=LORA | {"rank": 2}),
    ]
    check_in_turn(configs, ["loaded", "kept", "loaded", "loaded", "loaded", "kept"], tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": {"kind": "lora"}},
        {"method": QLORA | {"double_quant": False}},
        {"method": QLORA | {"bits": 8}},
        {"method": HQQ},
        {"precision": "fp32"},
        {"dtype": "float32"},
        {"cutoff": 2000},
        {"stage": {"kind": "reward"}},
    ],
    ids=str,
)
def test_what_loading_depends_on_is_in_the_key(tiny_model: Path, rows: Path, changes: dict[str, Any]) -> None:
    key = loading.base_key(config_of(tiny_model, rows, QLORA), tiny_model)
    same = config_of(tiny_model, rows, QLORA | {"rank": 2}, seed=1, learning_rate=1.0, stage={"kind": "dpo"})
    assert loading.base_key(same, tiny_model) == key
    changed = config_of(tiny_model, rows, **{"method": QLORA, **changes})
    assert loading.base_key(changed, tiny_model) != key


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("name", list(ModelConfig.model_fields))
def test_every_setting_of_the_model_is_in_the_key(tiny_model: Path, rows: Path, name: str) -> None:
    config = config_of(tiny_model, rows, LORA)
    others = {"attention": "eager", "kernels": "liger", "unsafe": ("pickle",), "dtype": "float16"}
    value = others.get(name, "another")
    changed = config.model_copy(update={"model": config.model.model_copy(update={name: value})})
    assert loading.base_key(changed, tiny_model) != loading.base_key(config, tiny_model)


def test_files_of_a_model_that_were_replaced_are_another_base(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    folder, config = tmp_path / "model", config_of(tiny_model, rows, LORA)
    shutil.copytree(tiny_model, folder)
    key = loading.base_key(config, folder)
    assert loading.base_key(config, folder) == key
    shutil.copy2(folder / "model.safetensors", folder / "new")
    (folder / "new").replace(folder / "model.safetensors")
    assert loading.base_key(config, folder) != key


def test_a_base_whose_weights_were_written_to_is_loaded_again(
    tiny_model: Path, rows: Path, tmp_path: Path, loads: list[Any]
) -> None:
    config = config_of(tiny_model, rows, QLORA)
    alone = expected(config, tmp_path / "alone")
    bases = ResidentBase()
    run_on(bases, config_of(tiny_model, rows, QLORA | {"rank": 2}), tmp_path / "run")
    weight = loads[-1]().model.layers[0].mlp.down_proj.weight
    version = weight._version
    weight.data.view(-1)[:4] = weight.data.view(-1)[4:8].clone()
    assert weight._version == version  # which is why contents are compared
    del weight
    record = run_on(bases, config, tmp_path / "run")
    assert record.base_origin == "changed"
    assert_equal(outcome(record, tmp_path / "run"), alone)


@pytest.mark.parametrize("error", [RuntimeError("broken"), MemoryError("can't allocate memory")], ids=repr)
def test_a_trial_that_fails_leaves_no_base_even_while_its_error_is_held(
    tiny_model: Path,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loads: list[Any],
    error: Exception,
) -> None:
    bases, step = ResidentBase(), StageTrainer.training_step

    def failed(*arguments: Any) -> Any:
        step(*arguments)
        raise error  # which this test holds, with its traceback

    with monkeypatch.context() as patch:
        patch.setattr(StageTrainer, "training_step", failed)
        record = run_trial(config_of(tiny_model, rows, LORA), TrialContext(tmp_path, bases=bases))
    assert record.status in ("failed", "out_of_memory")
    assert error.__traceback__ is not None
    assert bases.bytes == 0
    gc.collect()
    assert loads[-1]() is None


def test_an_interrupted_trial_leaves_no_base_and_goes_on_with_one_that_is_lent(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = config_of(tiny_model, rows, QLORA, steps=4)
    alone = expected(config, tmp_path / "alone")
    bases = ResidentBase()
    assert run_on(bases, config, tmp_path / "run", ScriptedControl(interrupt_at=2)).status == "interrupted"
    assert bases.bytes == 0
    assert run_on(bases, config_of(tiny_model, rows, QLORA), tmp_path / "run").base_origin == "loaded"
    resumed = run_on(bases, config, tmp_path / "run")
    assert resumed.base_origin == "kept"
    assert_equal(outcome(resumed, tmp_path / "run"), alone)


def test_an_adapter_is_merged_after_the_base_was_dropped(
    tiny_model: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    bases, first = ResidentBase(), config_of(tiny_model, rows, LORA)
    run_on(bases, first, tmp_path)
    assert bases.bytes
    start = TrainedModel(trial=first.trial_id(), folder=tmp_path / "trials" / first.trial_id() / "model")
    held: list[int] = []
    load = AutoModelForCausalLM.from_pretrained

    def watched(*arguments: Any, **options: Any) -> Any:
        held.append(bases.bytes)
        return load(*arguments, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", watched)
    model = first.model.model_copy(update={"start": start})
    following = config_of(tiny_model, rows, LORA | {"rank": 2}).model_copy(update={"model": model})
    assert run_on(bases, following, tmp_path).base_origin == "loaded"
    assert held == [0, 0]  # for merging, and for the trial


def test_what_memory_is_counted_of_a_base_that_stays(
    tiny_model: Path, rows: Path, tmp_path: Path, loads: list[Any]
) -> None:
    bases = ResidentBase()
    run_on(bases, config_of(tiny_model, rows, QLORA), tmp_path)
    constants = 64 * 2**10  # such as a copy of the frequencies of positions
    assert 0 <= bases.bytes - weight_bytes(loads[-1]()) < constants
    assert bases.peak_of_loading(7) == 7
    with bases.lend(config_of(tiny_model, rows, QLORA | {"rank": 2}), tmp_path):
        assert bases.bytes == 0  # it is the trial's now
        assert bases.peak_of_loading(5) == 7
    alive: list[list[Any]] = []
    with bases.lend(
        config_of(tiny_model, rows, LORA), tmp_path, lambda: alive.append([model() for model in loads])
    ):
        assert alive == [[None]]  # memory is counted from then on
