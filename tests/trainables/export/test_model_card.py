"""The model card of an export."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from reports.statistics.intervals import wilson
from tests.helpers.exports import export_successfully
from tests.helpers.tiny_encoders import encoder_tokenizer, make_encoder
from tests.helpers.trials import make_config
from trainables import results
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.train import TrainConfig
from trainables.export import check_tables, license, loading_example, markdown, model_card
from trainables.export.exported import Exported
from trainables.export.merge_effect import ScoreChange
from trainables.export.public_settings import dataset_hub_id, public_data_name, public_settings
from trainables.inference.result import Result


def front_of(text: str) -> dict[str, Any]:
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert front is not None
    return YAML(typ="safe").load(front[1])


def test_the_card_says_how_the_model_was_made(lora: str, tmp_path: Path) -> None:
    export_successfully(lora, tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    front = front_of(text)
    assert front["base_model"] == "tiny"
    assert front["library_name"] == "transformers"
    assert (front["license"], front["license_name"]) == ("other", "see-the-base-model")
    assert front["tags"] == ["paretune", "sft", "lora"]
    assert "datasets" not in front
    assert front == ModelCard.load(tmp_path / "out" / "README.md").data.to_dict()
    run, _, trial = lora.rpartition(":")
    record = results.read_record(Path(run) / "trials" / trial)
    base = next(each for each in results.read_run(Path(run)).records if each.role == "base")
    assert record is not None
    expected = (
        trial,
        str(record.data_sha256),
        "`` ro`ws\\|1.jsonl ``",
        "| method.rank | `4` |",
        "| train.learning_rate | `0.02` |",
        f"| loss | {record.metrics['loss']:.4g} | {base.metrics['loss']:.4g} |",
        f"On {record.test_rows} test rows",
        f"| transformers | {record.packages['transformers']} |",
        "AutoModelForCausalLM.from_pretrained(",
        "See the base model.",
    )
    for words in expected:
        assert words in text, words


def test_the_metadata_of_the_card_holds_whatever_text_a_name_is(lora: str) -> None:
    from reports.analysis.recommendation.best_trials import recommended_trials
    from sweeps.runs.resolve import resolve

    result = resolve(lora, recommended_trials)
    odd = 'a "b": [c], #d é'
    config = result.config.model_copy(
        update={
            "model": result.config.model.model_copy(update={"path": Path("/models") / odd}),
            "data": result.config.data.model_copy(update={"train": "hf:ada/rows:sub@main"}),
        }
    )
    result = replace(result, config=config, record=None, run=None, trained_folder=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Result, "folder", lambda self: Path("/nowhere"))
        card = model_card.render(result, Exported(Path(), 0, None), wilson)
    assert front_of(card.content) == {
        "base_model": odd,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "other",
        "license_name": "see-the-base-model",
        "tags": ["paretune", "sft", "lora"],
        "datasets": ["ada/rows"],
    }
    assert card.text.startswith('\n# a "b": \\[c\\], \\#d é sft')


def test_names_of_metrics_are_plain_in_the_terminal_and_escaped_in_the_card(tmp_path: Path) -> None:
    change = ScoreChange(8, before={"exact_match": 0.5}, after={"exact_match": 0.25})
    made = Exported(tmp_path, 1, "float32", change=change)
    (table,) = check_tables.check_tables(made)
    assert table.rows == (("exact_match", "0.5", "0.25", "-0.25"),)
    assert r"| exact\_match | 0.5 | 0.25 | -0.25 |" in list(model_card._checks(made))


def test_the_example_of_an_encoder_classifier_cuts_texts_as_the_trial_did(tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder", "bert")
    stage = {"kind": "classification", "labels": ["a", "b"], "multi_label": False}
    config = make_config(folder, "command-kinds", None, stage=stage, cutoff=24)

    code = list(loading_example.lines(Result("base", config), Exported(tmp_path, 0, "float32")))

    (line,) = (line for line in code if line.startswith("inputs = "))
    names = {"tokenizer": encoder_tokenizer("bert")}
    exec(line.replace("...", "a word " * 40), names)
    assert names["inputs"]["input_ids"].shape == (1, 24)
    assert "from transformers import AutoModelForSequenceClassification, AutoTokenizer" in code


def test_the_card_has_intervals_of_shares_and_peaks_of_memory(lora: str) -> None:
    from reports.analysis.recommendation.best_trials import recommended_trials
    from sweeps.runs.resolve import resolve

    found = resolve(lora, recommended_trials)
    assert found.record is not None
    update = {
        "metrics": {"exact_match": 0.5, "loss": 1.25},
        "quality_name": "exact_match",
        "quality_unit": "fraction",
        "test_rows": 64,
        "peak_train_bytes": 3 * 2**29,
        "memory_source": "cuda",
    }
    found = Result(
        found.name, found.config, found.trained_folder, found.run, found.record.model_copy(update=update)
    )
    text = model_card.render(found, Exported(Path(), 0, "bfloat16"), wilson).content
    assert "50.0% (38.1% to 61.9%)" in text
    assert "Peak memory of a GPU" in text
    assert "training 1.50 GiB" in text
    assert "The run has no score of the untrained base model." in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("smollm2-135m", ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m", "apache-2.0")),
        ("qwen2.5-3b", ("Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-3B", "other")),
        ("qwen2.5-32b", ("Qwen/Qwen2.5-32B", "Qwen/Qwen2.5-32B", "apache-2.0")),
        ("llama-3.1-8b-instruct", ("meta-llama/Llama-3.1-8B-Instruct",) * 2 + ("llama3.1",)),
        ("hf:ada/own@v2", ("ada/own", "ada/own", None)),
    ],
)
def test_a_base_model_has_its_name_on_the_hub_and_its_licence(
    name: str, expected: tuple[str, str, str | None], tmp_path: Path
) -> None:
    model = ModelConfig(name=name)
    assert (
        license.repository(model),
        license.public_name(model),
        license.license_of(model, tmp_path),
    ) == expected


def test_every_known_model_has_a_licence() -> None:
    from trainables.models.locate import NAMED_MODELS

    assert [name for name in NAMED_MODELS if license.license_of(ModelConfig(name=name), Path()) is None] == []


def test_the_licence_in_a_base_models_own_card_counts(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text('---\ntags: [a]\nlicense: "cc-by-4.0"\n---\n# Base\nlicense: mit\n')
    assert license.license_of(ModelConfig(path=tmp_path), tmp_path) == "cc-by-4.0"


def test_data_is_named_by_its_id_on_the_hub_or_by_its_file_name_alone() -> None:
    assert dataset_hub_id("hf:ada/rows:sub#train@main") == "ada/rows"
    assert dataset_hub_id("rows.jsonl") is None
    assert public_data_name("/home/ada/rows.jsonl") == "rows.jsonl"
    assert public_data_name("hf:ada/rows") == "hf:ada/rows"
    assert DataConfig(train="/home/ada/rows.jsonl").label == "rows.jsonl"


def test_markup_in_a_text_is_escaped() -> None:
    assert markdown.inline_code("a``b\nc") == "``` a``b c ```"
    assert markdown.escaped("# [x](y) <script>") == "\\# \\[x\\](y) \\<script\\>"
    assert list(markdown.table(("a",), [("x|y",)])) == ["| a |", "| --- |", "| x\\|y |", ""]


def test_a_setting_that_was_set_to_null_is_in_the_card_and_one_that_is_null_by_default_is_not() -> None:
    set_to_null = TrainConfig(steps=2, learning_rate=1e-3, max_grad_norm=None)
    assert public_settings(set_to_null)["max_grad_norm"] is None
    assert "epochs" not in public_settings(set_to_null)
    assert public_settings(TrainConfig(steps=2, learning_rate=1e-3))["max_grad_norm"] == 1.0
