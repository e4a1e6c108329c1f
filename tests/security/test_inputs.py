"""The promises of sweeps/README.md, Security, about inputs: specs, names, paths, and what comes with models."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.spec import source
from sweeps.spec.problems import SpecError
from tests.helpers import specs
from tests.helpers.model_families import causal_families
from tests.helpers.specs import SPEC, problems
from tests.helpers.trials import make_config, write_rows
from trainables.config import limits
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.trained_model import TrainedModel
from trainables.data.errors import DataError
from trainables.data.hub_datasets import HubDataset
from trainables.data.loading import load
from trainables.models import locate
from trainables.models.config_sizes import absurd_size
from trainables.models.folder import ModelError, read_architecture
from trainables.trial import starting_weights


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return specs.spec_folder(tmp_path)


def refused(path: Path, text: str) -> str:
    """The message that refuses a spec with that text."""
    (path / "spec.yaml").write_text(text, encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(SpecError) as error:
        source.read(path / "spec.yaml")
    assert time.monotonic() - started < 60  # a second or less where nothing else runs
    return str(error.value).replace(f"{path}/", "")


# YAML


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir", "!!python/name:os.mkdir", "!own", "!!set"])
def test_yaml_never_creates_an_object(tmp_path: Path, tag: str) -> None:
    made = tmp_path / "made"
    assert f"spec.yaml:2: a tag ({tag})" in refused(tmp_path, f"name: x\nquestion: {tag} ['{made}']\n")
    assert not made.exists()


def test_a_tag_in_an_override_is_refused_too(workdir: Path) -> None:
    with pytest.raises(SpecError, match="a tag"):
        specs.plan(workdir, SPEC, ("train.steps=!!python/name:os.getpid 8",))


def test_a_plain_tag_is_allowed(workdir: Path) -> None:
    assert problems(workdir, SPEC.replace("name: tiny", "name: !!str tiny")) == []


def _bomb(levels: int = 30) -> Iterator[str]:
    yield "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"
    for level in range(1, levels):
        yield f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("\n".join(_bomb()), f"at most {limits.SPEC_VALUES:,} values"),
        ("a: &a [*a]", "*a contains itself"),
        ("a: " + "[" * 5_000 + "]" * 5_000, f"nested more than {limits.SPEC_DEPTH} deep"),
        ("a: " + "{a: " * 5_000 + "1" + "}" * 5_000, f"nested more than {limits.SPEC_DEPTH} deep"),
        ("a: " + "9" * 5_000, "a number has at most"),
        ("a: 0x" + "f" * 5_000, "a number has at most"),
        ("a: 1\n" * (limits.SPEC_BYTES // 5 + 1), f"at most {limits.SPEC_BYTES:,} characters"),
        ('a: "x\\0y"', "can't be seen"),
        ('a: "\\e[31mred"', "can't be seen"),
    ],
    ids=lambda value: value[:12],
)
def test_yaml_that_would_fill_the_memory_is_refused_with_a_message(
    tmp_path: Path, text: str, why: str
) -> None:
    assert why in refused(tmp_path, text)


# How much a spec may ask for


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "steps: 8",
            "steps: 1000000000000",
            "train.steps: got 1,000,000,000,000; the maximum is",
        ),
        ("steps: 8", "epochs: 1.0e+12", "train.epochs"),
        ("steps: 8", "steps: 10000000, gradient_accumulation: 60000", "a trial has at most 100,000,000"),
        ("batch_size: 2", "batch_size: 1000000000", "train.batch_size"),
        ("trials: 3", "trials: 1000000000", "search.trials"),
        ("eval_fraction: 0.4", "eval_fraction: 0.4, cutoff: 1000000000", "data.cutoff"),
        ("choice: [4, 8]", "int: [4, 1000000000]", "methods[1].rank"),
        ("choice: [4, 8]", f"choice: {list(range(1, 2_000))}", "choice lists 1,999 values; at most 1,000"),
        ("trials: 3}", "trials: 3}\nresources: {workers: 1000000000}", "resources.workers"),
        ("trials: 3}", f"trials: 3}}\nresources: {{memory: {'9' * 30}.5TiB}}", "resources.memory"),
    ],
)
def test_an_absurd_amount_is_refused_with_its_line(workdir: Path, old: str, new: str, why: str) -> None:
    found = problems(workdir, SPEC.replace(old, new))
    assert any(why in problem and problem.startswith("spec.yaml:") for problem in found), found


def _compared(values: int) -> str:
    keys = ("warmup_steps", "seed", "logging_steps", "eval_steps")
    each = ", ".join(f"{key}: {{compare: {list(range(1, values + 1))}}}" for key in keys)
    return SPEC.replace("train: {", f"train: {{{each}, ")


def test_a_grid_of_millions_is_counted_and_not_built(workdir: Path) -> None:
    started = time.monotonic()
    with pytest.raises(SpecError, match=r"25,920,000 cells; a sweep has at most 1,000"):
        specs.plan(workdir, _compared(60))
    assert time.monotonic() - started < 60


def test_ends_and_choices_of_all_cells_are_limited_together(workdir: Path) -> None:
    choices = f"rank: {{choice: {list(range(1, 1_000))}}}"
    text = _compared(3).replace("rank: {choice: [4, 8]}", choices)
    with pytest.raises(SpecError, match="ends and choices to be searched in 162 cells"):
        specs.plan(workdir, text)


def test_weights_that_would_repeat_rows_without_end_are_refused(workdir: Path) -> None:
    mixed = "train: [rows.jsonl, rows.jsonl], mix: interleave_over, weights: [1, 1.0e-12]"
    (problem, *_) = problems(workdir, SPEC.replace("train: rows.jsonl", mixed))
    assert "the limit is 100,000,000" in problem


# Names and paths


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "..", ".", "a/b", "a\\b", "x" * 300, "", "a b", "~"])
def test_a_name_that_could_leave_its_folder_is_refused(workdir: Path, name: str) -> None:
    asked = json.dumps(name)
    assert any(
        "can't be the name of a run folder" in p
        for p in problems(workdir, SPEC.replace("name: tiny", f"name: {asked}"))
    )
    for entry in ("{kind: sft}", "{kind: full}"):
        text = SPEC.replace(entry, entry.replace("}", f", name: {asked}}}"))
        assert any("can't be part of a file name" in problem for problem in problems(workdir, text))


@pytest.mark.parametrize("leaf", ["model.path", "model.from", "data.train", "data.eval", "data.folder"])
@pytest.mark.parametrize("path", ["x" * 5_000, "~nobody-of-that-name/x.json"])
def test_what_cannot_be_a_path_is_a_problem_and_no_crash(workdir: Path, leaf: str, path: str) -> None:
    assert any(leaf in problem for problem in problems(workdir, SPEC, f"{leaf}={path}"))


@pytest.mark.parametrize("name", ["../secret.json", "/etc/passwd", "parts/../../secret.json"])
def test_a_registry_cannot_name_files_outside_its_folder(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "data"
    inside.mkdir()
    write_rows(tmp_path / "secret.json")
    (inside / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": name}}))
    with pytest.raises(DataError, match=r"leads out of .* name it in the spec itself"):
        load(DataConfig(train="mine", folder=inside))


def test_a_path_in_the_spec_itself_may_lie_anywhere(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    assert load(DataConfig(train=str(rows), eval_fraction=0.25, folder=tmp_path / "nowhere")).train


@pytest.mark.parametrize("revision", ["../../../etc", "/etc/passwd", "a/../../b"])
def test_a_hub_revision_cannot_leave_the_cache(revision: str) -> None:
    with pytest.raises(ModelError, match="can't be a revision"):
        locate.find_source(f"hf:org/name@{revision}")
    with pytest.raises(DataError, match="can't be a revision"):
        HubDataset.parse(f"hf:org/name@{revision}")


def test_a_model_index_cannot_name_weights_outside_its_folder(workdir: Path) -> None:
    index = {"weight_map": {"model.embed_tokens.weight": "../model.safetensors"}}
    (workdir / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="outside of the folder"):
        locate.model_folder(ModelConfig(path=workdir / "model"))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "other"])
def test_a_pipe_in_a_models_folder_is_not_waited_for(workdir: Path, name: str) -> None:
    (workdir / "model" / name).unlink(missing_ok=True)
    os.mkfifo(workdir / "model" / name)
    with pytest.raises(ModelError, match=f"{name} is neither a file nor a folder"):
        locate.model_folder(ModelConfig(path=workdir / "model"))


@pytest.mark.parametrize(
    ("key", "value", "limit"),
    [
        ("num_hidden_layers", 10**9, 1_000),
        ("n_layer", 10**9, 1_000),
        ("num_nextn_predict_layers", 10**9, 1_000),
        ("hidden_size", 10**12, 2**31),
        ("intermediate_size", [64, 10**12], 2**31),
        ("vocab_size", 10**12, 2**31),
        ("vocab_size_per_layer_input", 10**12, 2**31),
        ("num_local_experts", 10**9, 2**15),
        ("num_attention_heads", 10**9, 2**16),
        ("head_dim", 1e12, 2**31),
        ("max_position_embeddings", 10**18, 2**31),
        ("sliding_window", 10**12, 2**31),
    ],
)
def test_a_size_in_a_models_config_that_no_model_has_is_refused_with_its_key_and_the_limit(
    workdir: Path, key: str, value: Any, limit: int
) -> None:
    config = workdir / "model" / "config.json"
    usual = json.loads(config.read_text())
    for changed in ({**usual, key: value}, {**usual, "text_config": {key: value}}):
        config.unlink()  # a link to the model of all tests
        config.write_text(json.dumps(changed))
        with pytest.raises(
            ModelError, match=rf"config\.json: (text_config\.)?{key} is 1.*at most {limit} are possible"
        ):
            locate.model_folder(ModelConfig(path=workdir / "model"))


@pytest.mark.parametrize("value", ["64", -1, 1.5, {}, True, float("inf"), float("nan")])
def test_a_size_that_is_none_is_refused_before_any_training(value: Any) -> None:
    assert "a whole number is needed" in str(absurd_size({"text_config": {"hidden_size": value}}))
    assert (
        absurd_size({"hidden_size": [64, 128], "num_key_value_heads": None, "vision_feature_layer": -1})
        is None
    )


def test_a_list_of_layers_without_end_is_refused() -> None:
    assert (
        absurd_size({"layer_types": ["a"] * 10**5})
        == "layer_types has 100000 entries, and at most 65536 are possible"
    )


def test_experts_count_in_all_layers_together() -> None:
    assert absurd_size({"num_hidden_layers": 61, "n_routed_experts": 384}) is None
    found = absurd_size({"text_config": {"num_hidden_layers": 999, "num_experts": 4_000}})
    assert found == "text_config.num_experts is 4000 in 999 layers, and at most 524288 in all are possible"


def test_every_family_of_models_has_sizes_that_are_possible() -> None:
    """By the defaults of its config class, which are those of a published model."""
    from transformers import CONFIG_MAPPING

    others = {"gemma4_assistant"}  # its class takes no defaults
    refused = {
        kind: absurd_size(CONFIG_MAPPING[kind]().to_dict())
        for kind in causal_families()
        if kind not in others
    }
    assert {kind: why for kind, why in refused.items() if why is not None} == {}
    assert absurd_size({"layer_rope_theta": 10_000.0, "num_hidden_layers": 32, "num_experts": 64}) is None


def test_a_config_as_deep_as_json_is_read_has_no_absurd_size() -> None:
    assert absurd_size(json.loads('{"a":' * 900 + "1" + "}" * 900)) is None


@pytest.mark.parametrize(
    "header",
    [
        b'{"a": {"shape": [1e9, "x"]}}',
        b'{"a": {"shape": [10000000000000]}}',
        b'{"a": 1}',
        b'{"a": {}}',
        b"[" * 100_000,
    ],
)
def test_a_header_of_weights_that_is_none_is_refused(workdir: Path, header: bytes) -> None:
    weights = workdir / "model" / "model.safetensors"
    weights.unlink()
    weights.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ModelError, match=r"model\.safetensors: not a complete safetensors file"):
        read_architecture(workdir / "model")


def test_a_models_config_without_end_or_bottom_is_refused(workdir: Path) -> None:
    config = workdir / "model" / "config.json"
    config.unlink()
    config.write_text("[" * 1_000_000)
    with pytest.raises(ModelError, match=r"config\.json: not valid JSON"):
        locate.model_folder(ModelConfig(path=workdir / "model"))
    os.truncate(config, 2**42)
    with pytest.raises(ModelError, match=f"it has {2**42} bytes"):
        locate.model_folder(ModelConfig(path=workdir / "model"))
    config.unlink()
    config.symlink_to("/dev/zero")
    with pytest.raises(ModelError, match=r"config\.json is neither"):
        locate.model_folder(ModelConfig(path=workdir / "model"))


# Code that comes with models


def test_no_trial_continues_from_an_adapter_whose_weights_are_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match="no weights as safetensors"):
        starting_weights.find_trained_model(tmp_path)


def test_trust_of_another_trial_is_not_inherited(tiny_model: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    described = json.loads((base / "config.json").read_text())
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (base / "config.json").write_text(json.dumps(described | own))
    trial = make_config(base, "commands")
    trusting = trial.model_copy(update={"model": ModelConfig(path=base, unsafe=("remote_code",))})
    adapter = tmp_path / "trial" / "model"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    (adapter / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (adapter.parent / "config.json").write_text(trusting.model_dump_json())
    start = TrainedModel(trial="0" * 12, folder=adapter)
    with pytest.raises(ModelError, match="can only be loaded by the code that comes with it"):
        starting_weights.starting_folder(ModelConfig(path=tiny_model, start=start), tmp_path / "run")


def test_converting_a_model_never_prompts_and_never_runs_its_code(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = tmp_path / "model"
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(model)
    (model / "model.safetensors").unlink()
    torch.save(AutoModelForCausalLM.from_pretrained(tiny_model).state_dict(), model / "pytorch_model.bin")
    for file in tiny_model.glob("tokenizer*"):
        (model / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"},
    }
    (model / "config.json").write_text(json.dumps(config))
    (model / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n"
    )
    with pytest.raises(ModelError):
        locate.model_folder(ModelConfig(path=model, unsafe=("pickle",)))
    assert not (tmp_path / "ran").exists()
