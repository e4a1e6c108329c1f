"""What is read of LLaMA-Factory's and ms-swift's configurations, and what becomes of their settings."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sweeps.drafting.foreign import read_carry_over, trainer_rules
from sweeps.drafting.foreign.carry_over import CarryOver
from sweeps.drafting.foreign.foreign_file import read_foreign
from sweeps.drafting.foreign.inputs import find_inputs
from sweeps.spec.problems import SpecError
from trainables.stages.rewards.terms import RegexReward

SFT = """\
### model
model_name_or_path: my/model
stage: sft
finetuning_type: lora
lora_rank: 16
lora_target: q_proj,v_proj
dataset: mine, other
template: llama3
cutoff_len: 512
learning_rate: 1.0e-4
num_train_epochs: 2.0
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
lr_scheduler_type: cosine
bf16: true
plot_loss: true
ddp_timeout: 5
"""
SWIFT = """\
# comment --not_me 1
DATA=mine.jsonl
NPROC_PER_NODE=2 CUDA_VISIBLE_DEVICES=0,1 \\
swift sft \\
    --model Qwen/Qwen2.5-7B-Instruct \\
    --train_type lora \\
    --dataset $DATA#500 \\
              org/set:en#500 \\
    --system 'You are a
helpful assistant.' \\
    --target_modules all-linear \\
    --deepspeed zero2 \\
    --gradient_checkpointing true  # to save memory
echo done --model other
"""


def carried(folder: Path, text: str, name: str = "theirs.yaml") -> CarryOver:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    found = read_carry_over(file)
    assert found is not None
    return found


def values(found: CarryOver, section: str) -> dict[str, Any]:
    return {key: each.kept.value for key, each in found.of(section).items() if each.kept.active}


def changed(**settings: Any) -> str:
    """SFT with other settings; ``None`` takes one out."""
    lines = [line for line in SFT.splitlines() if line.partition(":")[0] not in settings]
    return "\n".join(
        lines + [f"{key}: {json.dumps(value)}" for key, value in settings.items() if value is not None]
    )


def test_settings_of_llama_factory_are_carried_over_with_their_lines(tmp_path: Path) -> None:
    found = carried(tmp_path, SFT)
    assert (found.tool, found.stage, found.method) == ("LLaMA-Factory", "sft", "lora")
    assert values(found, "method") == {"rank": 16, "targets": ["q_proj", "v_proj"]}
    assert values(found, "data") == {"template": "llama3", "cutoff": 512}
    assert values(found, "train") == {
        "epochs": 2.0,
        "batch_size": 1,
        "gradient_accumulation": 8,
        "scheduler": "cosine",
        "precision": "bf16",
    }
    assert values(found, "rate") == {"learning_rate": {"log": [1e-05, 0.001], "start": 1e-4}}
    assert found.of("method")["rank"].comment("it") == "lora_rank (line 5)"


def test_what_has_no_counterpart_is_listed_with_its_line_and_a_reason(tmp_path: Path) -> None:
    found = carried(tmp_path, SFT + "no_such_setting: 3\nlora_bias: none\n")
    listed = list(map(str, found.left_out))
    assert listed[0] == "line 16: plot_loss: True: the report has the curves"
    assert listed[1].startswith("line 17: ddp_timeout: 5: resources.stall_seconds")
    assert listed[2] == "line 18: no_such_setting: 3: nothing here does that"
    assert len(listed) == 3  # lora_bias is off


@pytest.mark.parametrize(
    ("settings", "stage", "section", "expected"),
    [
        ({"stage": "dpo", "pref_beta": 0.2, "pref_loss": "ipo"}, "dpo", "stage", {"beta": 0.2, "loss": "ipo"}),
        ({"stage": "dpo", "pref_loss": "orpo"}, "orpo", "stage", {}),
        ({"stage": "dpo", "pref_loss": "simpo"}, "simpo", "stage", {"beta": 0.1, "gamma": 0.5}),
        ({"stage": "kto", "kto_rejected_weight": 2.0}, "kto", "stage", {"undesirable_weight": 2.0}),
        ({"stage": "rm"}, "reward", "stage", {}),
        ({"stage": "pt"}, "pretrain", "train", {"packing": "stream"}),
        ({"train_on_prompt": True}, "sft", "stage", {"train_on_prompt": True}),
        ({"neftune_noise_alpha": 5}, "sft", "stage", {"neftune_noise_alpha": 5.0}),
        ({"num_train_epochs": None, "max_steps": 50}, "sft", "train", {"steps": 50}),
        ({"neat_packing": True}, "sft", "train", {"packing": True}),
        ({"optim": "adamw_torch"}, "sft", "train", {"optimizer": "adamw"}),
        ({"val_size": 0.2}, "sft", "data", {"eval_fraction": 0.2}),
        ({"val_size": 30}, "sft", "data", {"eval_count": 30}),
        ({"flash_attn": "fa2"}, "sft", "model", {"attention": "flash_attention_2"}),
        ({"rope_scaling": "yarn"}, "sft", "model", {"rope": "yarn"}),
        ({"quantization_bit": 4, "quantization_method": "hqq"}, "sft", "method", {"bits": 4, "backend": "hqq"}),
        ({"lora_target": "all", "use_rslora": False}, "sft", "method", {"targets": "all-linear"}),
        ({"use_dora": True}, "sft", "method", {"dora": True}),
        ({"pissa_init": True}, "sft", "method", {"init": "pissa"}),
        (
            {"eval_steps": 20, "early_stopping_steps": 4, "load_best_model_at_end": True}, "sft", "train",
            {"eval_steps": 20, "early_stopping": {"patience": 4}, "keep": "best"},
        ),
    ],
)  # fmt: skip
def test_values_and_stages_get_their_names_here(
    tmp_path: Path, settings: dict[str, Any], stage: str, section: str, expected: dict[str, Any]
) -> None:
    found = carried(tmp_path, changed(**settings))
    assert found.stage == stage
    assert values(found, section).items() >= expected.items()
    assert not {each.origin.key for each in found.left_out} & settings.keys()


def test_freezing_the_first_layers_and_quantized_adapters_are_methods(tmp_path: Path) -> None:
    frozen = carried(tmp_path, changed(finetuning_type="freeze", freeze_trainable_layers=-3, lora_rank=8))
    assert (frozen.method, values(frozen, "method")) == ("freeze", {"layers": 3, "end": "first"})
    assert "lora_rank: 8: freeze has no rank" in " ".join(map(str, frozen.left_out))
    assert carried(tmp_path, changed(quantization_bit=4)).method == "qlora"


def test_what_the_tool_does_by_default_counts_where_ours_is_another(tmp_path: Path) -> None:
    found = carried(tmp_path, changed(cutoff_len=None, learning_rate=None, num_train_epochs=None))
    assert values(found, "data")["cutoff"] == 2048
    assert values(found, "train")["epochs"] == 3.0
    assert values(found, "rate") == {"learning_rate": {"log": [5e-06, 0.0005], "start": 5e-5}}
    assert found.of("data")["cutoff"].comment(found.tool) == "cutoff_len (LLaMA-Factory's default)"


@pytest.mark.parametrize(
    ("theirs", "here"),
    [
        ("qwen3_nothink", "qwen3"),
        ("llama3", "llama3"),
        ("glm4_5", "glm4.5"),
        ("solar", None),
        ("nonsense", None),
    ],
)
def test_a_template_has_its_name_here_or_the_models_own_counts(
    tmp_path: Path, theirs: str, here: str | None
) -> None:
    found = carried(tmp_path, changed(template=theirs))
    assert values(found, "data").get("template") == here
    assert (theirs in " ".join(map(str, found.left_out))) == (here is None)


def test_code_of_the_model_is_allowed_by_the_user_alone(tmp_path: Path) -> None:
    found = carried(tmp_path, changed(trust_remote_code=True))
    assert values(found, "model") == {}
    assert not found.of("model")["unsafe"].kept.active


def test_a_pasted_command_line_is_read_with_its_lines(tmp_path: Path) -> None:
    found = read_foreign(_written(tmp_path, SWIFT))
    assert found is not None
    assert (found.tool, found.stage) == ("ms-swift", "sft")
    lines = {setting.key: setting.line for setting in found.settings}
    assert (lines["model"], lines["dataset"], lines["target_modules"]) == (5, 7, 11)
    assert found.values["dataset"] == ["mine.jsonl#500", "org/set:en#500"]
    assert found.values["system"] == "You are a\nhelpful assistant."
    assert found.values["gradient_checkpointing"] is True


def _written(folder: Path, text: str, name: str = "theirs.sh") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_settings_of_ms_swift_are_carried_over_with_its_defaults(tmp_path: Path) -> None:
    found = carried(tmp_path, SWIFT, "theirs.sh")
    assert (found.tool, found.stage, found.method) == ("ms-swift", "sft", "lora")
    assert values(found, "method") == {"targets": "all-linear", "alpha": 32, "dropout": 0.05}
    assert values(found, "train") == {
        "gradient_checkpointing": True,
        "batch_size": 1,
        "gradient_accumulation": 16,
        "scheduler": "cosine",
        "weight_decay": 0.1,
        "epochs": 3.0,
    }
    assert not found.of("train")["sharding"].kept.active
    assert values(found, "data") == {"default_system": "You are a\nhelpful assistant."}


@pytest.mark.parametrize(
    ("command", "stage", "expected"),
    [
        ("swift rlhf --rlhf_type dpo --beta 0.2 --loss_type hinge", "dpo", {"beta": 0.2, "loss": "hinge"}),
        ("swift rlhf --rlhf_type kto --desirable_weight 2", "kto", {"desirable_weight": 2}),
        ("swift rlhf --rlhf_type rm --center_rewards_coefficient 0.01", "reward", {"center_rewards_coefficient": 0.01}),
        ("swift pt", "pretrain", {}),
        ("swift sft --loss_scale last_round", "sft", {"mask_history": True}),
        ("swift rlhf --rlhf_type gkd", None, {}),
        ("swift rlhf --rlhf_type grpo", "grpo", {"beta": 0.04, "max_new_tokens": 512, "temperature": 0.9}),
        (
            "swift rlhf --rlhf_type grpo --beta 0 --temperature 1 --max_completion_length 64 --num_generations 4 "
            "--epsilon 3e-4 --epsilon_high 4e-4 --num_iterations 2 --importance_sampling_level sequence",
            "grpo",
            {"beta": 0, "temperature": 1, "max_new_tokens": 64, "num_generations": 4, "epsilon": 3e-4,
             "epsilon_high": 4e-4, "iterations": 2, "loss": "gspo"},
        ),
        (
            "swift rlhf --rlhf_type grpo --beta 0 --temperature 1 --max_completion_length 64 --loss_type dr_grpo",
            "grpo",
            {"beta": 0, "temperature": 1, "max_new_tokens": 64, "loss": "dr_grpo", "scale_rewards": "group"},
        ),
        ("llamafactory-cli train --stage dpo --pref_beta 0.3", "dpo", {"beta": 0.3}),
    ],
)  # fmt: skip
def test_commands_say_the_stage(
    tmp_path: Path, command: str, stage: str | None, expected: dict[str, Any]
) -> None:
    model = "--model_name_or_path" if command.startswith("llama") else "--model"
    found = carried(tmp_path, f"{command} {model} a/b --dataset x\n", "command.txt")
    assert (found.stage, values(found, "stage")) == (stage, expected)


GRPO = """\
swift rlhf --rlhf_type grpo --model a/b --dataset x.jsonl
    --reward_funcs accuracy format external:brevity --reward_weights 1 0.5 0.25
    --per_device_train_batch_size 16 --gradient_accumulation_steps 2 --num_generations 8
    --top_p 0.9 --use_vllm true
"""


def test_rewards_are_carried_over_or_named_with_what_they_would_have_to_be(tmp_path: Path) -> None:
    found = carried(tmp_path, GRPO, "run.sh")
    (reward,) = values(found, "stage")["rewards"]
    assert (reward["kind"], reward["weight"]) == ("regex", 0.5)
    answers = ["<think>a\nb</think>\n<answer>c</answer>", "<think>a</think><answer>c</answer> d", "c"]
    assert RegexReward(**reward).rewards([], answers) == [1.0, 0.0, 0.0]
    listed = "\n".join(map(str, found.left_out))
    for text in (
        "accuracy (it compares",
        "external:brevity has to be",
        "top_p: 0.9: answers",
        "use_vllm: True",
    ):
        assert text in listed


@pytest.mark.parametrize(
    ("answers", "passes", "expected"), [(16, 2, (2, 2)), (4, 4, (1, 2)), (1, 1, (1, None)), (3, 8, (1, 3))]
)
def test_batches_of_answers_become_batches_of_prompts(
    tmp_path: Path, answers: int, passes: int, expected: tuple[int, int | None]
) -> None:
    text = GRPO.replace("size 16", f"size {answers}").replace("steps 2", f"steps {passes}")
    train = values(carried(tmp_path, text, "run.sh"), "train")
    assert (train["batch_size"], train.get("gradient_accumulation")) == expected


@pytest.mark.parametrize(
    ("given", "carried_over"),
    [
        ("--steps_per_generation 2", True),
        ("--steps_per_generation 32", False),
        ("--generation_batch_size 32", True),
        ("--generation_batch_size 2", False),
    ],
)
def test_answers_that_several_steps_share_have_no_counterpart(
    tmp_path: Path, given: str, carried_over: bool
) -> None:
    found = carried(tmp_path, f"{GRPO.rstrip()} {given}\n", "run.sh")
    assert ("each step samples its own answers" not in str(found.left_out)) == carried_over


@pytest.mark.parametrize("given", ["--num_generations 0", "--reward_weights a b", "--reward_funcs ''"])
def test_grpos_settings_that_are_none_are_left_out(tmp_path: Path, given: str) -> None:
    found = carried(tmp_path, f"{GRPO.rstrip()} {given}\n", "run.sh")
    assert found.stage == "grpo"
    assert values(found, "train")["batch_size"] >= 1


def test_quotes_comments_and_missing_backslashes_are_understood(tmp_path: Path) -> None:
    text = "swift sft --model a/b  # it's small\n  --dataset x#5\n  --system 'a # b'\n\nswift infer --model c/d\n"
    found = read_foreign(_written(tmp_path, text))
    assert found is not None
    assert found.values == {"model": "a/b", "dataset": "x#5", "system": "a # b"}


def test_a_command_that_names_a_file_has_its_settings_and_overrides_them(tmp_path: Path) -> None:
    _written(tmp_path, SFT, "sft.yaml")
    found = carried(tmp_path, "llamafactory-cli train sft.yaml learning_rate=1e-5 --lora_rank 4\n", "run.sh")
    assert values(found, "method")["rank"] == 4
    assert values(found, "rate") == {"learning_rate": {"log": [1e-06, 0.0001], "start": 1e-5}}
    assert values(found, "data")["cutoff"] == 512


def test_json_is_read_and_data_and_specs_are_no_configurations(tmp_path: Path) -> None:
    config = {"model": "a/b", "dataset": ["x"], "tuner_type": "full", "learning_rate": 1e-5, "seed": None}
    found = carried(tmp_path, json.dumps(config, indent=2), "args.json")
    assert (found.method, found.of("rate")["learning_rate"].origin.line) == ("full", 7)
    assert read_foreign(_written(tmp_path, '[{"prompt": "a", "completion": "b"}]', "rows.json")) is None
    assert read_foreign(_written(tmp_path, "swift is a bird\nthat trains\n", "birds.txt")) is None
    assert (
        read_foreign(
            _written(tmp_path, "data: {train: x}\nmethods: []\nmodel: {}\ndataset: 1\n", "spec.yaml")
        )
        is None
    )


def test_a_shell_variable_that_the_script_does_not_set_is_left_to_the_user(tmp_path: Path) -> None:
    found = carried(tmp_path, "swift sft --model $MODEL --dataset x.jsonl --lora_rank ${RANK}\n", "run.sh")
    assert "a variable of the shell" in str(found.left_out[-1])
    assert find_inputs(found).missing[0].startswith("model.name: the file names no model")


def test_data_sets_are_found_by_the_registry_of_the_tools_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # LLaMA-Factory's paths are relative to its own folder; its examples stand in another one.
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"mine": {}, "other": {}}))
    (tmp_path / "examples" / "lora").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "examples")
    found = find_inputs(carried(tmp_path / "examples" / "lora", SFT))
    assert found.data == {"train": ["mine", "other"], "folder": str(tmp_path / "data")}
    assert (found.data_line, found.model_line, found.missing) == (7, 2, ())
    assert found.model == {"name": "hf:my/model"}
    missing = find_inputs(carried(tmp_path / "examples" / "lora", changed(dataset="third"))).missing
    assert len(missing) == 1
    assert "no dataset_info.json has the data set third" in missing[0]


def test_data_sets_of_ms_swift_are_files_or_ids_of_its_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.jsonl").touch()
    found = find_inputs(carried(tmp_path, SWIFT, "theirs.sh"))
    assert found.data == {"train": [str(tmp_path / "mine.jsonl"), "ms:org/set:en"], "num_samples": 500}
    assert found.model == {"name": "ms:Qwen/Qwen2.5-7B-Instruct"}
    numbers = find_inputs(carried(tmp_path, SWIFT.replace("en#500", "en#100"), "other.sh"))
    assert numbers.data["num_samples"] == [500, 100]
    some = find_inputs(carried(tmp_path, SWIFT.replace("en#500", "en"), "some.sh"))
    assert "num_samples" not in some.data


# Files of others


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("theirs.yaml", SFT + "a: &a [x,x]\n" + "".join(f"b{n}: [*a,*a,*a]\n" for n in range(5))),
        ("theirs.yaml", SFT + 'x: !!python/object/apply:os.system ["false"]\n'),
        ("theirs.yaml", SFT + "x: " + "[" * 5_000 + "]" * 5_000),
        ("theirs.json", '{"model": "a/b", "dataset": ' + "[" * 100_000 + "]" * 100_000 + "}"),
        ("theirs.sh", 'swift sft --model "\n' + "a b c\n" * 1_000),
        ("theirs.sh", "swift sft --model 'a" + "\n' b '" * 1_000),
        ("theirs.yaml", SFT + " " * 2**18),
    ],
    ids=["aliases", "tag", "deep YAML", "deep JSON", "open quote", "many quotes", "too long"],
)
def test_a_file_that_would_be_read_without_end_is_no_configuration(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_foreign(tmp_path / name) is None or "aliases" in text or name.endswith(".yaml")


@pytest.mark.parametrize(
    "name", ["/dev/zero", "pipe.yaml", "binary.yaml", "large.yaml", "a\0.yaml", "theirs.sh"]
)
def test_a_command_that_names_what_is_no_configuration_is_an_error(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large.yaml").touch()
    os.truncate(tmp_path / "large.yaml", 2**40)
    (tmp_path / "link.yaml").symlink_to(name if name.startswith("/dev") else tmp_path / "pipe.yaml")
    (tmp_path / "theirs.sh").write_text(f"llamafactory-cli train {'link.yaml' if '/' in name else name}\n")
    if name == "theirs.sh":
        (tmp_path / "theirs.sh").write_text("llamafactory-cli train nowhere.yaml\n")
    with pytest.raises(SpecError, match="which isn't here or no configuration"):
        read_foreign(tmp_path / "theirs.sh")


def test_variables_cannot_make_a_command_enormous(tmp_path: Path) -> None:
    (tmp_path / "a.sh").write_text(f"X={'a' * 1000}\nswift sft --model a/b --dataset {'$X' * 300}\n")
    (tmp_path / "b.sh").write_text(f"X={'a' * 10_000}\nswift sft --model a/b --dataset {'$X ' * 500}\n")
    for name in ("a.sh", "b.sh"):
        found = read_foreign(tmp_path / name)
        assert found is not None
        assert len(str(found.values["dataset"])) < 2**18


def test_lines_of_json_are_found_in_one_pass(tmp_path: Path) -> None:
    text = '{"model": "a/b",\n "dataset": "\u2028' + '\\"' * 60_000 + '",\n "model ": 1,\n "last" : 2}'
    (tmp_path / "theirs.json").write_text(text, encoding="utf-8")
    found = read_foreign(tmp_path / "theirs.json")
    assert found is not None
    assert [setting.line for setting in found.settings] == [1, 2, 3, 4]


@pytest.mark.parametrize("settings", [{}, {"eval_steps": 20, "eval_strategy": "epoch"}])
def test_early_stopping_without_a_number_of_steps_between_validations_is_left_out(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    found = carried(tmp_path, changed(early_stopping_steps=4, load_best_model_at_end=True, **settings))
    left_out = {each.origin.key: each.reason for each in found.left_out}
    for key in ("early_stopping_steps", "load_best_model_at_end"):
        assert "there is no number of steps between them" in left_out[key]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning_rate", ".inf"),
        ("lora_rank", ".nan"),
        ("lora_rank", "{a: 1}"),
        ("max_steps", ".inf"),
        ("val_size", ".nan"),
        ("interleave_probs", "a,b"),
        ("freeze_trainable_layers", "x"),
    ],
)
def test_a_value_that_is_no_number_is_left_out(tmp_path: Path, key: str, value: str) -> None:
    found = carried(tmp_path, changed(**{key: None}) + f"\n{key}: {value}\n")
    assert key in [each.origin.key for each in found.left_out]
    assert all(each.origin.key != key for each in found.carried)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("wandb", {"wandb": "auto"}),
        ("none", {"wandb": "off"}),
        ("tensorboard", {"wandb": "off", "tensorboard": True}),
        (["wandb", "tensorboard"], {"wandb": "auto", "tensorboard": True}),
        ("swanlab", {"wandb": "off", "swanlab": "offline"}),
        (["wandb", "trackio"], {"wandb": "auto", "trackio": "local"}),
        ("comet_ml", {}),
    ],
)
def test_trackers_are_carried_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, kept: dict[str, Any]
) -> None:
    monkeypatch.setattr(trainer_rules, "find_spec", lambda name: object())
    found = carried(tmp_path, changed(report_to=value))
    assert {key: each.kept.value for key, each in found.of("tracking").items()} == kept
    assert all(each.kept.active for each in found.of("tracking").values())
    left_out = [each.reason for each in found.left_out if each.origin.key == "report_to"]
    assert ["comet_ml: here there are W&B, TensorBoard" in reason for reason in left_out] == [True] * (
        not kept
    )


def test_a_tracker_that_can_not_record_yet_is_a_comment_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer_rules, "find_spec", lambda name: None if name == "swanlab" else object())
    found = carried(tmp_path, changed(report_to=["mlflow", "swanlab"])).of("tracking")
    assert [(key, each.kept.active, each.kept.note) for key, each in found.items()] == [
        ("wandb", True, ""),
        ("mlflow", False, "put your server's address here"),
        ("swanlab", False, "pip install 'paretune[swanlab]'"),
    ]


def test_what_no_file_can_be_called_is_missing(tmp_path: Path) -> None:
    for name in ("a" * 5_000, "~nobody-here/x"):
        found = carried(tmp_path, changed(model_name_or_path=name, dataset=name, dataset_dir=name))
        inputs = find_inputs(found)
        assert len(inputs.missing) == 2
    script = "swift sft --model a/b --dataset not-here#" + "9" * 5_000
    assert find_inputs(carried(tmp_path, script, "theirs.sh")).data == {"train": "not-here"}


def test_keys_of_others_services_are_not_shown(tmp_path: Path) -> None:
    nested = {"api_key": "sk-0123456789abcdef", "more": [{"token": "t0p-secret-text"}]}
    text = changed(
        hub_token="hf_abcdefabcdef", ray_init_kwargs=nested, report_url="https://me:passphrase@host/x"
    )
    script = "HF_TOKEN=hf_zzzzzzzzzz swift sft --model a/b --dataset x --push_to $HF_TOKEN --wandb_api_key=aaaabbbbcccc"
    for found in (carried(tmp_path, text), carried(tmp_path, script, "theirs.sh")):
        said = " ".join(map(str, found.left_out))
        for secret in ("sk-0123", "t0p-secret", "hf_abc", "passphrase", "hf_zzz", "aaaabbbb"):
            assert secret not in said
        assert "***" in said
