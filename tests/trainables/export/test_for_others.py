"""What an export has for others: the card, GGUF by llama.cpp's converter, an Ollama Modelfile, a hub."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
from huggingface_hub import ModelCard
from ruamel.yaml import YAML

from reports.analysis.uncertainty import wilson
from tests.helpers.exports import config_of, export, exported, trained
from tests.helpers.tiny_model import make_tokenizer
from tests.helpers.trials import write_rows
from trainables import results, templates
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.export import check_tables, gguf, license, markdown, model_card, ollama
from trainables.export.exported import Exported
from trainables.export.merge_effect import ScoreChange
from trainables.export.public_settings import dataset_hub_id, public_data_name
from trainables.inference.result import Result

CONVERTER = """\
import sys
folder, _, into, _, kind = sys.argv[1:]
import json, pathlib
if json.loads((pathlib.Path(folder) / "config.json").read_text())["model_type"] != "llama":
    sys.exit("unknown architecture")
if kind == "q8_0":
    sys.exit("Model xyz is not supported")
pathlib.Path(into).write_bytes(b"GGUF" + kind.encode())
"""


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> str:
    folder = tmp_path_factory.mktemp("served")
    rows = write_rows(folder / "ro`ws|1.jsonl")
    trained(config_of(tiny_model, rows, None), folder / "run")
    return trained(config_of(tiny_model, rows, "lora"), folder / "run")


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Path:
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / gguf.SCRIPT).write_text(CONVERTER)
    return folder


# The card


def front_of(text: str) -> dict[str, Any]:
    front = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert front is not None
    return YAML(typ="safe").load(front[1])


def test_the_card_says_how_the_model_was_made(lora: str, tmp_path: Path) -> None:
    exported(lora, tmp_path / "out")
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
    said = (
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
    for words in said:
        assert words in text, words


def test_the_metadata_of_the_card_holds_whatever_text_a_name_is(lora: str) -> None:
    from reports.analysis.best_trials import recommended_trials
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
    assert card.text.startswith("\n# a \"b\": \\[c\\], \\#d é sft")


def test_names_of_metrics_are_plain_in_the_terminal_and_escaped_in_the_card(tmp_path: Path) -> None:
    change = ScoreChange(8, before={"exact_match": 0.5}, after={"exact_match": 0.25})
    made = Exported(tmp_path, 1, "float32", change=change)
    (table,) = check_tables.check_tables(made)
    assert table.rows == (("exact_match", "0.5", "0.25", "-0.25"),)
    assert r"| exact\_match | 0.5 | 0.25 | -0.25 |" in list(model_card._checks(made))


def test_a_share_has_its_interval_and_peaks_are_told(lora: str) -> None:
    from reports.analysis.best_trials import recommended_trials
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
    found = Result(found.name, found.config, found.trained_folder, found.run, found.record.model_copy(update=update))
    text = model_card.render(found, Exported(Path(), 0, "bfloat16"), wilson).content
    assert "50.0% (38.1% to 61.9%)" in text
    assert "Peak memory of a GPU" in text
    assert "training 1.50 GiB" in text
    assert "The run has no score of the untrained base model." in text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("smollm2-135m", ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2-135m", "apache-2.0")),
        ("qwen2.5-3b", ("Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-3B", "other")),
        ("qwen2.5-32b", ("Qwen/Qwen2.5-32B", "Qwen/Qwen2.5-32B", "apache-2.0")),
        ("llama-3.1-8b-instruct", ("meta-llama/Llama-3.1-8B-Instruct",) * 2 + ("llama3.1",)),
        ("hf:ada/own@v2", ("ada/own", "ada/own", None)),
    ],
)
def test_a_base_is_called_by_its_hubs_name_with_its_licence(
    name: str, said: tuple[str, str, str | None], tmp_path: Path
) -> None:
    model = ModelConfig(name=name)
    assert (license.repository(model), license.public_name(model), license.license_of(model, tmp_path)) == said


def test_every_known_model_has_a_licence() -> None:
    from trainables.models.locate import NAMED_MODELS

    assert [name for name in NAMED_MODELS if license.license_of(ModelConfig(name=name), Path()) is None] == []


def test_the_bases_own_card_is_believed(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text('---\ntags: [a]\nlicense: "cc-by-4.0"\n---\n# Base\nlicense: mit\n')
    assert license.license_of(ModelConfig(path=tmp_path), tmp_path) == "cc-by-4.0"


def test_data_is_called_by_its_hubs_id_or_by_its_files_name_alone() -> None:
    assert dataset_hub_id("hf:ada/rows:sub#train@main") == "ada/rows"
    assert dataset_hub_id("rows.jsonl") is None
    assert public_data_name("/home/ada/rows.jsonl") == "rows.jsonl"
    assert public_data_name("hf:ada/rows") == "hf:ada/rows"
    assert DataConfig(train="/home/ada/rows.jsonl").label == "rows.jsonl"


def test_markup_in_a_text_is_no_markup() -> None:
    assert markdown.inline_code("a``b\nc") == "``` a``b c ```"
    assert markdown.escaped("# [x](y) <script>") == "\\# \\[x\\](y) \\<script\\>"
    assert list(markdown.table(("a",), [("x|y",)])) == ["| a |", "| --- |", "| x\\|y |", ""]


# GGUF


def test_gguf_is_made_by_llama_cpps_converter_in_the_same_folder(
    lora: str, llama_cpp: Path, tmp_path: Path
) -> None:
    exported(lora, tmp_path / "out", "--no-verify", "--ollama", "--gguf", "--llama-cpp", llama_cpp)
    assert (tmp_path / "out" / "model-f16.gguf").read_bytes() == b"GGUFf16"
    assert "FROM ./model-f16.gguf\n" in (tmp_path / "out" / "Modelfile").read_text()


@pytest.mark.parametrize("way", ["variable", "path"])
def test_the_converter_is_found_by_llama_cpp_and_on_path(
    llama_cpp: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    (llama_cpp / gguf.SCRIPT).chmod(0o755)
    name, value = ("LLAMA_CPP", str(llama_cpp)) if way == "variable" else ("PATH", str(llama_cpp))
    monkeypatch.setenv(name, value)
    assert gguf.find_converter(None) == llama_cpp / gguf.SCRIPT


def test_without_a_converter_the_way_to_it_is_said_before_any_work(
    lora: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    for options in (("--gguf", "bf16"), ("--gguf", "--llama-cpp", tmp_path)):
        refused = export(lora, tmp_path / "out", *options)
        assert refused.exit_code == 2
        assert "git clone --depth 1 https://github.com/ggml-org/llama.cpp" in refused.stderr
        assert "pip install sentencepiece" in refused.stderr
        assert not (tmp_path / "out").exists()
    assert "give f16, bf16, q8_0" in export(lora, tmp_path / "out", "--gguf", "q4_k_m").stderr


def test_what_the_converter_lacks_is_said_with_how_to_get_it(
    lora: str, llama_cpp: Path, tmp_path: Path
) -> None:
    (llama_cpp / gguf.SCRIPT).write_text("raise ModuleNotFoundError(\"No module named 'sentencepiece'\")\n")
    ended = export(lora, tmp_path / "out", "--no-verify", "--gguf", "q8_0", "--llama-cpp", llama_cpp)
    assert ended.exit_code == 1
    assert "It needs: pip install sentencepiece protobuf" in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_converter_that_fails_is_quoted_and_nothing_is_kept(
    lora: str, llama_cpp: Path, tmp_path: Path
) -> None:
    ended = export(lora, tmp_path / "out", "--no-verify", "--gguf", "q8_0", "--llama-cpp", llama_cpp)
    assert ended.exit_code == 1
    assert "Model xyz is not supported" in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama.cpp"]


# Ollama


def jinja_of(go: str) -> str:
    """The template as Jinja; Go's actions in it are few."""
    for there, here in (
        (r"\{\{- if not \.System \}\}", "{%- if not System %}"),
        (r"\{\{- range \$i, \$_ := \.Messages \}\}", "{%- for m in Messages %}"),
        (r"\{\{- \$last := eq \(len \(slice \$\.Messages \$i\)\) 1 \}\}", "{%- set last = loop.last %}"),
        (r'\{\{- (else if|if) eq \.Role ("\w+") \}\}', r"{%- \1 m.role == \2 %}"),
        (r"else if", "elif"),
        (r'\{\{- if and \$last \(ne \.Role "assistant"\) \}\}', '{%- if last and m.role != "assistant" %}'),
        (r"\{\{- if not \$last \}\}", "{%- if not last %}"),
        (r"\{\{ \.Content \}\}", "{{ m.content }}"),
    ):
        go = re.sub(there, here, go)
    ends: list[str] = []

    def ended(action: re.Match[str]) -> str:
        if action[1] in ("if", "for"):
            ends.append(action[1])
        return f"{{%- end{ends.pop()} %}}" if action[0].startswith("{{- end") else action[0]

    return re.sub(r"\{%- (if|for)\b|\{\{- end \}\}", ended, go)


@pytest.mark.parametrize("name", ["chatml", "qwen", "llama3", "zephyr", "phi4", "smollm2", "default"])
def test_the_modelfiles_template_writes_what_the_models_own_does(name: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    templates.apply(tokenizer, name)
    found = ollama.chat_format(tokenizer)
    assert found is not None
    template = jinja2.Environment(keep_trailing_newline=True).from_string(jinja_of(found.go_template()))
    for chat in ollama._conversations():
        system = next((message["content"] for message in chat if message["role"] == "system"), "")
        text = template.render(System=system, Messages=chat)
        assert text == templates.render(tokenizer, chat, add_generation_prompt=True)


@pytest.mark.parametrize("name", ["gemma", "llama2", "mistral", "deepseekr1"])
def test_a_template_that_does_more_is_left_out_and_that_is_said(name: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<|endoftext|>"})
    templates.apply(tokenizer, name)
    text = ollama.modelfile(tokenizer, ["<|im_end|>"], ".")
    assert "\nTEMPLATE" not in text
    assert "# TEMPLATE is left out" in text


def test_a_modelfile_stops_where_answers_end(lora: str, tmp_path: Path) -> None:
    exported(lora, tmp_path / "out", "--no-verify", "--ollama")
    text = (tmp_path / "out" / "Modelfile").read_text()
    assert 'PARAMETER stop "<|im_end|>"\n' in text
    assert text.count('"""') == 2
    assert "FROM .\n" in text


# Hubs


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What the hub was asked to do; the repository that is made is as private as it was asked to be."""
    import huggingface_hub

    asked: list[tuple[str, dict[str, Any]]] = []

    class Info:
        private = True
        repo_url = "https://hub/ada/model"

    def note(name: str) -> Any:
        def do(*arguments: Any, **options: Any) -> Info:
            asked.append(
                (name, {**options, "repo": options.get("repo_id", arguments[0] if arguments else None)})
            )
            return Info()

        return do

    for name in ("create_repo", "upload_folder", "repo_info"):
        monkeypatch.setattr(huggingface_hub, name, note(name))
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_sometoken")
    monkeypatch.setattr(Info, "asked", asked, raising=False)
    return asked


def test_nothing_is_pushed_unless_that_is_asked_for(
    lora: str, tmp_path: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sometoken1")
    exported(lora, tmp_path / "out", "--no-verify", "--ollama")
    exported(lora, tmp_path / "adapter", "--adapter")
    assert hub == []


def test_a_push_is_private_by_default_and_public_by_word(lora: str, tmp_path: Path, hub: list[Any]) -> None:
    exported(lora, tmp_path / "out", "--adapter", "--push", "ada/model")
    assert [name for name, _ in hub] == ["create_repo", "repo_info", "upload_folder"]
    assert hub[0][1]["private"] is True
    assert (hub[2][1]["repo"], hub[2][1]["folder_path"]) == ("ada/model", tmp_path / "out")
    hub.clear()
    exported(lora, tmp_path / "other", "--adapter", "--push", "ada/model", "--public")
    assert hub[0][1]["private"] is False


def test_private_weights_are_not_pushed_to_what_everybody_sees(
    lora: str, tmp_path: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    class Public:
        private = False

    monkeypatch.setattr(huggingface_hub, "repo_info", lambda *_: Public)
    ended = export(lora, tmp_path / "out", "--adapter", "--push", "ada/model")
    assert ended.exit_code == 1
    assert "is public, and nothing was uploaded" in ended.stderr
    assert "upload_folder" not in [name for name, _ in hub]
    assert (tmp_path / "out" / "README.md").is_file()


@pytest.mark.parametrize(
    ("name", "said"), [("model", "give ORG/NAME"), ("a/b/c", "--push a/b/c"), ("a/..b", "--push a/..b")]
)
def test_an_id_that_cannot_be_is_refused_before_any_work(
    lora: str, tmp_path: Path, hub: list[Any], name: str, said: str
) -> None:
    refused = export(lora, tmp_path / "out", "--push", name)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert not (tmp_path / "out").exists()


def test_without_a_token_a_push_is_refused_before_any_work(
    lora: str, tmp_path: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    refused = export(lora, tmp_path / "out", "--push", "ada/model")
    assert refused.exit_code == 2
    assert "hf auth login" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_an_upload_that_fails_keeps_the_folder_and_no_secret(
    lora: str, tmp_path: Path, hub: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def broken(**_: Any) -> None:
        raise OSError("PUT https://ada:hf_verysecrettoken@hub/x failed")

    monkeypatch.setattr(huggingface_hub, "upload_folder", broken)
    ended = export(lora, tmp_path / "out", "--adapter", "--push", "ada/model")
    assert ended.exit_code == 1
    assert "hf upload ada/model" in ended.stderr
    assert "hf_verysecrettoken" not in ended.stderr
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())
