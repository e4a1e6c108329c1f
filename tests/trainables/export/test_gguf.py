"""GGUF files by llama.cpp's converter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.exports import export, export_successfully
from trainables.export import gguf

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


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Path:
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    (folder / gguf.SCRIPT).write_text(CONVERTER)
    return folder


def test_gguf_is_written_by_llama_cpps_converter_to_the_same_folder(
    lora: str, llama_cpp: Path, tmp_path: Path
) -> None:
    export_successfully(lora, tmp_path / "out", "--no-verify", "--ollama", "--gguf", "--llama-cpp", llama_cpp)
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


def test_a_missing_converter_is_an_error_with_how_to_install_it_before_any_work(
    lora: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    for options in (("--gguf", "bf16"), ("--gguf", "--llama-cpp", tmp_path)):
        refused = export(lora, tmp_path / "out", *options)
        assert refused.exit_code == 2
        assert "git clone --depth 1 https://github.com/ggml-org/llama.cpp" in refused.stderr
        assert "pip install sentencepiece" in refused.stderr
        assert not (tmp_path / "out").exists()
    assert "give one of f16, bf16, q8_0" in export(lora, tmp_path / "out", "--gguf", "q4_k_m").stderr


def test_a_missing_package_of_the_converter_is_reported_with_how_to_install_it(
    lora: str, llama_cpp: Path, tmp_path: Path
) -> None:
    (llama_cpp / gguf.SCRIPT).write_text("raise ModuleNotFoundError(\"No module named 'sentencepiece'\")\n")
    command = export(lora, tmp_path / "out", "--no-verify", "--gguf", "q8_0", "--llama-cpp", llama_cpp)
    assert command.exit_code == 1
    assert "It needs: pip install sentencepiece protobuf" in command.stderr
    assert not (tmp_path / "out").exists()


def test_a_converter_that_fails_is_quoted_and_nothing_is_kept(
    lora: str, llama_cpp: Path, tmp_path: Path
) -> None:
    command = export(lora, tmp_path / "out", "--no-verify", "--gguf", "q8_0", "--llama-cpp", llama_cpp)
    assert command.exit_code == 1
    assert "Model xyz is not supported" in command.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llama.cpp"]
