"""Taking a result away: what was written answers as what it was made of does, and stands on its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from reports.analysis.recommendation.best_trials import recommended_trials
from sweeps.runs.resolve import resolve
from tests.helpers.exports import METHODS, export, export_successfully, train_trial, trial_config
from tests.helpers.paths import ROOT
from tests.helpers.trials import write_rows
from trainables import templates
from trainables.data.embedded.command_kinds import KINDS
from trainables.export import saved_model, verify
from trainables.inference.model_pool import ModelPool, result_tokenizer
from trainables.inference.result import Result
from trainables.results import read_run, write_tables
from trainables.trial import starting_weights

QUESTION = [{"role": "user", "content": "Set an alarm for 4 pm."}]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "secret-folder-rows.jsonl")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, rows: Path) -> Path:
    folder = tmp_path_factory.mktemp("private") / "run"
    for name in (None, *METHODS):
        train_trial(trial_config(tiny_model, rows, name), folder)
    write_tables(folder)
    return folder


def result(run: Path, name: str) -> Result:
    return resolve(f"{run}:sft-{name}", recommended_trials)


def plainly(*folders: Path, loader: str = "AutoModelForCausalLM") -> list[dict[str, Any]]:
    """The folders as transformers alone has them, in a process where our packages are absent."""
    script = ROOT / "tests" / "helpers" / "plain_transformers.py"
    process = subprocess.run(
        [sys.executable, str(script), *(f"{folder}:{loader}" for folder in folders)],
        input=json.dumps(QUESTION),
        capture_output=True,
        text=True,
        cwd=folders[0],
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HOME": str(folders[0])},
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def logits_of(model_result: Result, dtype: str, ids: list[int]) -> torch.Tensor:
    """The last logits of a result as it is used: its adapter on its unquantized base."""
    with ModelPool().load(saved_model.unquantized(model_result, dtype)).active() as policy, torch.no_grad():
        return (
            policy.model(input_ids=torch.tensor([ids]))
            .logits[0]
            .reshape(len(ids) if model_result.generates_text else 1, -1)[-1]
        )


def tokenizer_pad(folder: Path) -> int:
    return AutoTokenizer.from_pretrained(folder).pad_token_id


@pytest.mark.parametrize("name", METHODS)
def test_an_export_answers_as_its_result_and_is_checked(run: Path, name: str, tmp_path: Path) -> None:
    command = export_successfully(f"{run}:sft-{name}", tmp_path / "out", "--dtype", "float32")
    assert command.stdout.splitlines()[-1] == str(tmp_path / "out")
    assert "the exported files, in float32" in command.stdout
    # Whether it matters is said in words, too.
    assert ("Exporting" if name in ("full", "freeze") else "Merging") + " cost nothing" in command.stdout
    ids = list(range(3, 40))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
    expected = logits_of(result(run, name), "float32", ids)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    base = AutoModelForCausalLM.from_pretrained(result(run, name).base_folder(), dtype=torch.float32)
    assert (base(input_ids=torch.tensor([ids])).logits[0, -1] - expected).abs().max() > 1e-2


def test_plain_transformers_loads_an_export_without_our_packages(run: Path, tmp_path: Path) -> None:
    names = ("full", "lora", "qlora-4bit", "head")
    for name in names:
        export_successfully(f"{run}:sft-{name}", tmp_path / name, "--no-verify")
    for name, found in zip(names, plainly(*(tmp_path / name for name in names)), strict=True):
        own = result_tokenizer(result(run, name))
        assert found["text"] == templates.render(own, QUESTION, add_generation_prompt=True)
        assert (found["dtype"], found["pad"], found["ends"]) == (
            "torch.bfloat16",
            own.pad_token_id,
            own.eos_token_id,
        )
        assert found["answer"]
        expected = logits_of(result(run, name), "bfloat16", found["ids"]).float()
        torch.testing.assert_close(torch.tensor(found["logits"]), expected, atol=0.15, rtol=0.05)


def test_an_export_has_the_trials_template_scaled_positions_and_end_of_turn(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    config = trial_config(tiny_model, rows, "lora", cutoff=512)
    config = config.model_copy(
        update={
            "model": type(config.model).model_validate({**config.model.model_dump(), "rope": "yarn"}),
            "data": config.data.model_copy(update={"template": "gemma"}),
        }
    )
    named = train_trial(config, tmp_path / "run")
    export_successfully(named, tmp_path / "out")
    described = json.loads((tmp_path / "out" / "config.json").read_text())
    assert described["rope_parameters"]["rope_type"] == "yarn"
    assert (described["max_position_embeddings"], described["use_cache"]) == (512, True)
    (found,) = plainly(tmp_path / "out")
    assert "<start_of_turn>user" in found["text"]
    assert found["ends"] == result_tokenizer(resolve(named, recommended_trials)).eos_token_id


def test_generation_settings_of_the_base_that_change_greedy_answers_are_dropped(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    base.generation_config.update(
        do_sample=True, temperature=0.7, repetition_penalty=1.3, eos_token_id=[2, 5]
    )
    base.save_pretrained(tmp_path / "base")
    tokenizer_of_base = saved_model.read_json(tiny_model / "tokenizer_config.json")
    assert tokenizer_of_base["eos_token"] == "<|im_end|>"
    for file in tiny_model.glob("*token*"):
        (tmp_path / "base" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "base" / "chat_template.jinja").write_bytes((tiny_model / "chat_template.jinja").read_bytes())
    export_successfully(
        train_trial(trial_config(tmp_path / "base", rows, "lora"), tmp_path / "run"), tmp_path / "out"
    )
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert settings["eos_token_id"] == [2, 5]
    assert not {"temperature", "repetition_penalty"} & settings.keys()
    assert not settings.get("do_sample")


def test_the_adapters_of_a_trial_and_of_the_trial_it_started_from_are_both_merged(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    first = trial_config(tiny_model, rows, "lora")
    train_trial(first, tmp_path / "run")
    start = starting_weights.find_trained_model(tmp_path / "run" / "trials" / first.trial_id())
    later = trial_config(tiny_model, rows, "dora", seed=1)
    later = later.model_copy(update={"model": later.model.model_copy(update={"start": start})})
    named = train_trial(later, tmp_path / "run")
    export_successfully(named, tmp_path / "out", "--dtype", "float32")
    ids = list(range(3, 40))
    logits = AutoModelForCausalLM.from_pretrained(tmp_path / "out")(input_ids=torch.tensor([ids])).logits[
        0, -1
    ]
    torch.testing.assert_close(
        logits, logits_of(resolve(named, recommended_trials), "float32", ids), atol=1e-4, rtol=1e-4
    )
    refused = export(named, tmp_path / "adapter", "--adapter")
    assert refused.exit_code == 2
    assert "leave --adapter out, and both are merged" in refused.stderr


@pytest.mark.parametrize("name", ["full", "qlora-4bit"])
def test_a_reward_model_is_exported_too(tiny_model: Path, tmp_path: Path, name: str) -> None:
    config = trial_config(
        tiny_model, "commands", name, stage={"kind": "reward"}, eval_rows=4, eval_fraction=0.95, cutoff=80
    )
    named = train_trial(config, tmp_path / "run")
    command = export_successfully(named, tmp_path / "out", "--dtype", "float32")
    assert "rewards" in command.stdout
    ids = list(range(3, 40))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    logits = model(input_ids=torch.tensor([ids])).logits[0]
    torch.testing.assert_close(
        logits, logits_of(resolve(named, recommended_trials), "float32", ids), atol=1e-4, rtol=1e-4
    )
    assert model.config.get_text_config().pad_token_id == tokenizer_pad(tmp_path / "out")
    assert "AutoModelForSequenceClassification" in (tmp_path / "out" / "README.md").read_text()
    assert export(named, tmp_path / "gguf", "--ollama").exit_code == 2


def test_a_checkpoint_and_a_base_model_are_exported_too(
    run: Path, tiny_model: Path, tmp_path: Path, rows: Path
) -> None:
    named = train_trial(trial_config(tiny_model, rows, "lora", save_steps=2), tmp_path / "run")
    export_successfully(f"{named}@2", tmp_path / "step", "--dtype", "float32")
    export_successfully(tiny_model, tmp_path / "base")
    ids = list(range(3, 40))
    for folder, of in (("step", f"{named}@2"), ("base", str(tiny_model))):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / folder)
        expected = logits_of(resolve(of, recommended_trials), str(model.dtype).removeprefix("torch."), ids)
        torch.testing.assert_close(
            model(input_ids=torch.tensor([ids])).logits[0, -1], expected, atol=1e-3, rtol=1e-3
        )


def test_the_adapter_alone_is_copied_unchanged_and_names_no_path(run: Path, tmp_path: Path) -> None:
    export_successfully(f"{run}:sft-lora", tmp_path / "out", "--adapter")
    left = result(run, "lora").trained_folder
    assert left is not None
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (left / weights).read_bytes()
    described = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert described["base_model_name_or_path"] == "tiny"
    assert not list((tmp_path / "out").glob("model*"))
    assert "AutoPeftModelForCausalLM" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("options", [("--adapter",), ()])
def test_nothing_of_this_machine_is_in_an_export(
    run: Path, tiny_model: Path, tmp_path: Path, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_averysecretsecret")
    export_successfully(f"{run}:sft-qlora-4bit", tmp_path / "out", *options)
    private = (run, run.parent, tiny_model, tiny_model.parent, tmp_path, Path.home(), "secret-folder/")
    for file in (tmp_path / "out").rglob("*"):
        content = file.read_bytes().decode(errors="replace")
        for word in (
            *map(str, private),
            socket.gethostname() + "/",
            "hf_averysecretsecret",
            "local_files_only",
        ):
            assert word not in content, (file.name, word)


def test_weights_are_written_in_shards_of_the_requested_size(tmp_path: Path) -> None:
    from tests.helpers.tiny_model import make_model

    big = make_model(tmp_path / "big", hidden=256)
    export_successfully(big, tmp_path / "out", "--shard-size", "1MB", "--dtype", "float32")
    shards = list((tmp_path / "out").glob("model-*-of-*.safetensors"))
    assert len(shards) > 2
    assert max(shard.stat().st_size for shard in shards) < 1_100_000
    found, expected = (
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for folder in (tmp_path / "out", big)
    )
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize("name", ["qlora-4bit", "qlora-8bit"])
def test_the_change_in_a_qloras_score_by_merging_is_measured_and_reported(
    run: Path, name: str, tmp_path: Path
) -> None:
    command = export_successfully(f"{run}:sft-{name}", tmp_path / "out")
    record = next(each for each in read_run(run).records if each.cell == f"sft-{name}")
    card = (tmp_path / "out" / "README.md").read_text()
    for text in (command.stdout, card):
        assert "quantized base + adapter" in text
        assert f"{record.metrics['loss']:.4g}" in text
        assert "Merging into the unquantized base cost" in text


def test_without_the_trials_data_built_in_prompts_are_compared_and_a_note_says_so(
    tiny_model: Path, tmp_path: Path
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    named = train_trial(trial_config(tiny_model, rows, "qlora-4bit"), tmp_path / "run")
    rows.unlink()
    command = export_successfully(named, tmp_path / "out")
    assert "on 8 built-in prompts" in command.stdout.replace("\n", " ")
    assert "was not measured: the trial's data is not on this machine" in command.stdout
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text()


def test_a_merge_that_answers_differently_is_refused_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.export import export as exporting

    def wrong(model: Any) -> Any:
        return model.unload()  # the base alone

    monkeypatch.setattr(exporting, "merge_adapter", wrong)
    command = export(f"{run}:sft-lora", tmp_path / "out")
    assert command.exit_code == 1
    assert "merging in 32 bits moves log-probabilities by up to" in command.stderr
    assert list(tmp_path.iterdir()) == []
    export_successfully(f"{run}:sft-lora", tmp_path / "out", "--no-verify")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "not checked whether it answers as before the export (--no-verify)" in card


@pytest.mark.parametrize("layer", [0, 3])
def test_files_that_lack_one_layers_adapter_are_refused_in_16_bits_too(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: int
) -> None:
    found = result(run, "lora")
    base = AutoModelForCausalLM.from_pretrained(found.base_folder())
    name = f"model.layers.{layer}.self_attn.v_proj"
    saving = saved_model.save_model

    def spoilt(policy: Any, *rest: Any) -> None:
        module = policy.model.get_submodule(name)
        module.weight.data = base.get_submodule(name).weight.data.to(module.weight.dtype)
        saving(policy, *rest)

    monkeypatch.setattr(saved_model, "save_model", spoilt)
    command = export(f"{run}:sft-lora", tmp_path / "out")
    assert command.exit_code == 1
    assert "rounding to bfloat16 alone" in command.stderr
    assert list(tmp_path.iterdir()) == []


def test_files_with_other_weights_than_the_model_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = saved_model.load_exported

    def spoilt(*arguments: Any) -> Any:
        model = loading(*arguments)
        model.model.norm.weight.data[0] += 0.01
        return model

    monkeypatch.setattr(saved_model, "load_exported", spoilt)
    command = export(f"{run}:sft-full", tmp_path / "out")
    assert command.exit_code == 1
    assert "the files hold other weights than the model has: model.norm.weight" in command.stderr
    assert list(tmp_path.iterdir()) == []


def test_merging_may_move_outputs_as_far_as_32_bits_do() -> None:
    exact = [torch.zeros(2, 3)]

    def check(merged: float, float_error: float | None) -> verify.Check:
        moved = verify.compare([torch.full((2, 3), merged)], exact, generates_text=True)
        own = None if float_error is None else verify.Difference(float_error, float_error, 1.0, 0.0)
        same = verify.compare(exact, exact, generates_text=True)
        return verify.Check(verify.Prompts(([1],), ""), "float32", moved, same, moved, (), own)

    assert check(5e-5, None).failure is None
    assert check(1e-2, 5e-3).failure is None
    assert "merging in 32 bits moves" in str(check(1e-2, 1e-3).failure)
    assert "merging in 32 bits moves" in str(check(1e-2, None).failure)


def test_nan_never_passes_the_check() -> None:
    fine, broken = torch.zeros(2, 3), torch.full((2, 3), torch.nan)
    found = verify.compare([broken], [fine], generates_text=True)
    check = verify.Check(verify.Prompts(([1],), ""), "float16", None, found, found)
    assert check.failure is not None


def test_a_classifier_is_exported_with_the_names_of_its_labels(tiny_model: Path, tmp_path: Path) -> None:
    labels = sorted(set(KINDS.values()))
    stage = {"kind": "classification", "labels": labels, "multi_label": False}
    sizes: dict[str, Any] = {"eval_rows": 4, "eval_fraction": 0.95, "cutoff": 80}
    config = trial_config(tiny_model, "command-kinds", "lora", stage=stage, **sizes)
    named = train_trial(config, tmp_path / "run")

    command = export_successfully(named, tmp_path / "out", "--dtype", "float32")

    assert "scores of labels" in command.stdout
    ids = list(range(3, 40))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert model.config.id2label == dict(enumerate(labels))
    torch.testing.assert_close(
        model(input_ids=torch.tensor([ids])).logits[0],
        logits_of(resolve(named, recommended_trials), "float32", ids),
        atol=1e-4,
        rtol=1e-4,
    )
    assert "id2label[int(logits.argmax())]" in (tmp_path / "out" / "README.md").read_text()
    refused = export(named, tmp_path / "gguf", "--ollama")
    assert (refused.exit_code, "is a classifier" in refused.stderr) == (2, True)
