"""Whether cells fit in a given memory, the cheapest change that makes one fit, and methods side by side for a model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.planning import plan
from sweeps.planning.memory.cell_memory import ConfigMemory
from sweeps.planning.memory.fit import assess_fit
from sweeps.planning.memory.method_grid import find_model, fit_sentence, grid_rows
from sweeps.spec import spec
from sweeps.spec.byte_sizes import parse_bytes, parse_memory_limit
from tests.helpers.sweeps import METHODS, SPEC, write_spec
from tests.helpers.trials import make_config
from trainables.memory.predicted_model import PredictedModel
from trainables.memory.tracing.tracing_process import Tracer
from trainables.models.architecture import decoder_shape
from trainables.models.catalog import CATALOG
from trainables.models.folder import ModelError

GIB = 2**30


def config_memory(
    method: dict[str, Any], batch_size: int = 8, model: str = "qwen3-8b", **train: Any
) -> ConfigMemory:
    config = make_config(Path("/m"), "rows.jsonl", method, batch_size=batch_size, cutoff=1024, **train)
    return ConfigMemory(config, PredictedModel(CATALOG[model].shape), 1024, 1, "cuda")


LORA = {"kind": "lora", "rank": 16}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("24GiB", 24 * GIB),
        ("80 GB", 80 * 10**9),
        ("512MiB", 512 * 2**20),
        ("1.5g", 1_500_000_000),
        ("100", 100),
    ],
)
def test_amounts_of_memory_are_parsed_as_people_write_them(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["much", "24 XB", "GiB", "-3GB"])
def test_a_text_that_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount of memory"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("24", "--memory: '24' has no unit. Write 24GiB, or 24GB"),
        ("24000000000", "has no unit"),
        ("24MiB", "less than 64 MiB, in which nothing can be trained. Write 24GiB or 80GB"),
        ("", "is not an amount of memory. Write 24GiB, 80GB or 512MiB"),
    ],
)
def test_a_memory_limit_needs_a_unit_and_enough_to_train_in(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=re.escape(what)):
        parse_memory_limit(text)
    refused = CliRunner().invoke(app, ["plan", "--model", "qwen3-8b", "--grid", "--memory", text])
    assert refused.exit_code == 2
    assert what in " ".join(refused.output.split())


def test_a_memory_limit_of_64_mib_is_enough() -> None:
    assert parse_memory_limit("64MiB") == 64 * 2**20


def test_a_specs_memory_needs_a_unit(tmp_path: Path, tiny_model: Path) -> None:
    spec = write_spec(
        tmp_path, tiny_model, SPEC.replace("resources: {", 'resources: {memory: "25769803776", ')
    )
    planned = CliRunner().invoke(app, ["plan", str(spec)])
    assert planned.exit_code == 2
    assert "resources.memory: '25769803776' has no unit" in " ".join(planned.output.split())


def test_a_cell_that_fits_says_how_much_memory_is_to_spare() -> None:
    found = assess_fit("sft-lora", config_memory(LORA, 1), 80 * GIB)
    assert found.change is None
    assert found.spare == 80 * GIB - found.predicted.peak_bytes > 0
    assert str(found).startswith("sft-lora: ")
    assert "GiB fits, " in str(found)


def test_the_cheapest_sufficient_change_is_named_and_makes_the_cell_fit() -> None:
    whole = config_memory(LORA)
    for memory in (60, 40, 24, 16, 12):
        found = assess_fit("sft-lora", whole, memory * GIB)
        assert found.spare < 0
        assert found.change is not None
        assert found.change.predicted.peak_bytes <= memory * GIB
    # A little too much: half the rows at a time. Far too much: more than one change.
    assert assess_fit("c", whole, whole.peak_bytes - 1).change.description == (  # type: ignore[union-attr]
        "train.batch_size: 4 with gradient_accumulation: 2"
    )
    words = assess_fit("c", whole, 12 * GIB).change.description  # type: ignore[union-attr]
    assert "model.quantization: 4" in words
    assert "gradient_checkpointing: true" in words


def test_a_change_keeps_the_number_of_rows_per_step() -> None:
    whole = config_memory(LORA)
    change = assess_fit("c", whole, 40 * GIB).change
    assert change is not None
    assert change.predicted.config.train.update_rows == whole.config.train.update_rows


def test_answers_become_fewer_or_shorter_only_where_nothing_else_is_enough() -> None:
    stage = {"kind": "grpo", "reward": "commands", "num_generations": 16, "max_new_tokens": 256}
    whole = config_memory(LORA, 2, stage=stage, gradient_checkpointing=True)
    least = assess_fit("c", whole, whole.peak_bytes - 1).change
    assert least is not None
    assert least.description == "train.batch_size: 1 with gradient_accumulation: 2"
    settings = {"stage": stage, "gradient_checkpointing": True, "optimizer": "adamw_8bit"}
    quantized = config_memory({"kind": "qlora", "rank": 16}, 1, **settings)
    for answers in (8, 2):
        limit = quantized.with_settings("stage", num_generations=answers).peak_bytes
        found = assess_fit("c", quantized, limit)
        assert found.change is not None
        assert found.change.predicted.peak_bytes <= limit < quantized.peak_bytes
        assert answers != 8 or found.change.description == "num_generations: 8"
    assert "batch, num_generations, max_new_tokens, optimizer" in str(assess_fit("c", quantized, GIB))


def test_shorter_answers_make_rows_shorter_where_their_prompts_were_not_cut() -> None:
    stage = {"kind": "ppo", "reward": "commands", "max_new_tokens": 256}
    config = config_memory(LORA, 1, stage=stage).config
    model = PredictedModel(CATALOG["qwen3-8b"].shape)
    for tokens, expected in ((600, 600 - 128), (1024, 1024)):
        memory = ConfigMemory(config, model, tokens, 1, "cuda")
        assert memory.with_settings("stage", max_new_tokens=128).tokens == expected


def test_a_cell_that_no_change_makes_fit_says_so() -> None:
    found = assess_fit("sft-full", config_memory({"kind": "full"}), 12 * GIB)
    assert found.change is None
    assert "no change of checkpointing, batch, optimizer, bits or workers is enough" in str(found)


def test_a_cell_that_no_other_change_makes_fit_is_shared_by_as_few_workers_as_possible() -> None:
    whole = config_memory({"kind": "full"})
    for memory, workers in ((64, 4), (40, 8)):
        change = assess_fit("sft-full", whole, memory * GIB).change
        assert change is not None
        assert (change.predicted.workers, change.predicted.config.train.sharding) == (workers, "fsdp")
        assert f"resources.workers: {workers}, train.sharding: fsdp" in change.description
        assert change.predicted.peak_bytes <= memory * GIB
    found = str(assess_fit("sft-full", whole, 48 * GIB))
    assert found.endswith("GiB for each of 4 workers")
    # What is sampled, or in few bits, can't be shared.
    assert assess_fit("c", config_memory({"kind": "qlora"}), GIB).change is None


def test_workers_that_the_spec_leaves_open_are_as_few_as_fit(tmp_path: Path, tiny_model: Path) -> None:
    text = SPEC.replace("concurrent: 2", "workers: auto").replace(
        "batch_size: 2", "batch_size: 4, sharding: fsdp"
    )
    made = plan.make(spec.read(write_spec(tmp_path, tiny_model, text)))
    assert not made.errors
    alone, two = (made.cell("sft-full").predicted.largest.with_workers(n).peak_bytes for n in (1, 2))  # type: ignore[union-attr]
    assert two < alone
    for room, workers in ((2 * alone, 1), (int(two * 1.06), 2)):
        (found, _) = made.fits(room)
        assert (found.cell, found.predicted.workers) == ("sft-full", workers)


def test_methods_are_ordered_as_their_memory_is() -> None:
    peak = {
        row.method: row.predicted.peak_bytes for row in grid_rows("qwen3-8b", 1, 2048) if row.checkpointing
    }
    names = ["QLoRA 4-bit r16", "QLoRA 8-bit r16", "LoRA r16", "full, 8-bit AdamW", "full"]
    assert [peak[name] for name in names] == sorted(peak[name] for name in names)
    assert 15 * 8.19e9 < peak["full"] < 18 * 8.19e9  # 16 bytes a parameter, and the rest of a step


def test_pure_bf16_holds_half_of_what_full_fine_tuning_in_bf16_holds() -> None:
    rows = {row.method: row.predicted.prediction for row in grid_rows("qwen3-8b", 1, 2048)}
    mixed, pure = rows["full"], rows["full, pure bf16"]
    for part in ("weights", "gradients", "optimizer"):
        assert getattr(pure, part) == pytest.approx(getattr(mixed, part) / 2, rel=0.01), part


@pytest.mark.parametrize(
    ("gigabytes", "sentence"),
    [
        (
            24,
            "in 24 GB (22.35 GiB): freeze (2 layers), QLoRA 8-bit r16 or QLoRA 4-bit r16; with checkpointing also "
            "LoRA r16",
        ),
        (10, "in 10 GB (9.313 GiB): with checkpointing QLoRA 4-bit r16"),
        (
            4,
            "in 4 GB (3.725 GiB): none of these; QLoRA 4-bit r16 with checkpointing needs the least, 7.21 GiB",
        ),
    ],
)
def test_a_sentence_under_the_grid_says_what_fits(gigabytes: int, sentence: str) -> None:
    assert fit_sentence(list(grid_rows("qwen3-8b", 1, 2048)), gigabytes * 10**9) == sentence


def test_a_models_shape_is_read_from_its_config_too(tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 100, "tie_word_embeddings": False,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert (
        find_model(str(tmp_path)).shape
        == find_model(str(tmp_path / "config.json")).shape
        == decoder_shape.from_config(config)
    )
    assert find_model("Qwen/Qwen3-8B").shape == CATALOG["qwen3-8b"].shape


def test_an_unknown_model_says_what_to_give_instead() -> None:
    with pytest.raises(ModelError, match=r"Give its config.json \(--model path/to/config.json\)"):
        find_model("hf:nobody/nothing")


def test_the_command_shows_the_grid_and_takes_no_spec_with_it() -> None:
    runner = CliRunner()
    found = runner.invoke(app, ["plan", "--model", "Qwen/Qwen3-8B", "--grid", "--memory", "24GiB", "--json"])
    assert found.exit_code == 0
    reported = json.loads(found.stdout)
    assert {row["method"] for row in reported} >= {"full", "freeze, 2 layers", "LoRA r16", "QLoRA 4-bit r16"}
    parts = [key for key in reported[0] if key.endswith("_bytes") and key != "peak_bytes"]
    assert all(row["peak_bytes"] == sum(row[part] for part in parts) for row in reported)
    shown = runner.invoke(app, ["plan", "--model", "qwen3-8b", "--grid", "--memory", "24GiB"]).stdout
    assert "in 25.77 GB (24 GiB): " in shown
    assert all(len(line) <= 80 for line in shown.splitlines()[1:14])
    without_limit = runner.invoke(app, ["plan", "--model", "qwen3-8b", "--grid"]).stdout
    assert "in 25.77 GB (24 GiB): " in without_limit
    assert "in 85.9 GB (80 GiB): " in without_limit
    for wrong in (["plan", "methods", "--model", "qwen3-8b", "--grid"], ["plan"], ["plan", "--grid"]):
        assert runner.invoke(app, wrong).exit_code == 2


def test_plan_says_for_every_cell_whether_it_fits_or_why_its_memory_is_unknown(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(tracer: Tracer, question: dict[str, Any]) -> dict[str, Any]:
        return {"problem": "a step can't be traced (ValueError: no)"}

    monkeypatch.setattr(Tracer, "ask", ask)
    methods = "methods: [{kind: full}, {kind: lora, dora: true}]\n"
    # A cutoff that no other test has traced: results are kept in the cache.
    spec = write_spec(
        tmp_path, tiny_model, SPEC.replace(METHODS, methods).replace("cutoff: 64", "cutoff: 61")
    )
    runner = CliRunner()
    message = runner.invoke(app, ["plan", str(spec), "--memory", "1GiB"]).stdout.splitlines()
    assert "memory limit: 1.074 GB (1 GiB)" in message
    assert any(line.startswith("sft-full: 0.01 GiB fits, ") for line in message)
    reason = "a step can't be traced (ValueError: no)"
    assert f"sft-lora: its memory is unknown, so it may or may not fit ({reason})" in message
    assert f"the predicted peak of sft-lora is unknown: {reason}" in message
    assert any(
        line.startswith("sft-full: ") and "predicted peak 0.01 GiB (formula)" in line for line in message
    )
    assert not any("fits" in line for line in runner.invoke(app, ["plan", str(spec)]).stdout.splitlines())


def test_the_specs_memory_is_the_capacity_that_plan_compares_with(tmp_path: Path, tiny_model: Path) -> None:
    text = SPEC.replace("resources: {", "resources: {memory: 1MiB, ")
    spec = write_spec(tmp_path, tiny_model, text)
    reported = json.loads(CliRunner().invoke(app, ["plan", str(spec), "--json"]).stdout)
    assert reported["memory_limit_bytes"] == 2**20
    assert {fit["cell"]: fit["spare_bytes"] < 0 for fit in reported["fits"]} == {
        "sft-full": True,
        "sft-lora": True,
    }
