"""GGUF files of somebody else: what a header announces is refused before a library believes it."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from trainables.models import gguf_header
from trainables.models.conversion import convert_model
from trainables.models.folder import ModelError
from trainables.models.gguf_header import check_gguf

U32, F32, TEXT, LIST = 4, 6, 8, 9
SETTINGS: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.embedding_length": 4,
    "llama.attention.head_count": 2,
    "llama.rope.freq_base": 1e4,
    "tokenizer.ggml.tokens": ["a", "b"],
    "tokenizer.ggml.token_type": [1] * 70_000,
}
TENSORS: dict[str, Sequence[int]] = {"token_embd.weight": (4, 2), "blk.0.attn_q.weight": (4, 4)}


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def setting(value: Any) -> bytes:
    """A value with its type before it; bytes as they are."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return struct.pack("<I", TEXT) + text(value)
    if isinstance(value, list):
        first = setting(value[0])
        return struct.pack("<I", LIST) + first[:4] + struct.pack("<Q", len(value)) + b"".join(
            setting(each)[4:] for each in value
        )  # fmt: skip
    return struct.pack("<If", F32, value) if isinstance(value, float) else struct.pack("<IQ", 10, value)


def written(
    folder: Path,
    settings: Mapping[str, Any] = SETTINGS,
    tensors: Mapping[str, Sequence[int]] = TENSORS,
    counts: tuple[int, int] | None = None,
    kind: int = 0,
) -> Path:
    """A GGUF file with tensors of a type (0: numbers of 32 bits), one behind the other."""
    content = b"GGUF" + struct.pack("<I2Q", 3, *(counts or (len(tensors), len(settings))))
    content += b"".join(text(key) + setting(value) for key, value in settings.items())
    offset = 0
    for name, shape in tensors.items():
        content += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        offset += 4 * shape[0] * shape[1]
    file = folder / "model.gguf"
    file.write_bytes(content + bytes(min(offset, 2**16)))
    return file


def refusal(file: Path) -> str:
    with pytest.raises(ModelError) as refused:
        check_gguf(file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{file}: ")


def test_a_complete_header_is_accepted(tmp_path: Path) -> None:
    check_gguf(written(tmp_path))


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("llama.block_count", 10**9, "llama.block_count is 1000000000, and at most 1000 are possible"),
        ("llama.block_count", 999, "llama.block_count is 999, and the file has weights of 1 layer"),
        ("llama.block_count", [1, 1], "llama.block_count is no number, and a whole number is needed"),
        ("llama.block_count", "many", "llama.block_count is no number, and a whole number is needed"),
        ("llama.block_count", 0.5, "llama.block_count is 0.5, and a whole number is needed"),
        ("llama.embedding_length", 2**40, f"llama.embedding_length is {2**40}, and at most {2**31} are possible"),
        ("llama.embedding_length", 8, "llama.embedding_length is 8, and token_embd.weight has 4"),
        ("llama.feed_forward_length", [4, 2**40], f"at most {2**31} are possible"),
        ("llama.expert_count", 10**6, "llama.expert_count is 1000000, and at most 32768 are possible"),
        ("llama.attention.head_count", 10**6, "and at most 65536 are possible"),
        ("llama.attention.head_count", float("nan"), "a whole number is needed"),
        ("llama.context_length", 10**15, "llama.context_length is 1000000000000000, and at most"),
        ("tokenizer.ggml.tokens", struct.pack("<2IQ", LIST, TEXT, 2**60), "at most 4194304 in all lists"),
        ("tokenizer.ggml.scores", struct.pack("<2IQ", LIST, F32, 2**20), "the file ends before its end"),
        ("tokenizer.ggml.scores", struct.pack("<2IQ", LIST, LIST, 2), "a value of the unknown type 9"),
        ("tokenizer.chat_template", struct.pack("<IQ", TEXT, 2**60), "the length of a text is"),
        ("tokenizer.chat_template", struct.pack("<IQ", TEXT, 2**23), "the file ends before its end"),
        ("general.name", struct.pack("<I", 77), "general.name has a value of the unknown type 77"),
    ],
)  # fmt: skip
def test_a_setting_that_no_model_has_is_refused_with_its_key(
    tmp_path: Path, key: str, value: Any, why: str
) -> None:
    assert why in refusal(written(tmp_path, {**SETTINGS, key: value}))


def test_layers_in_several_lists_of_settings_cannot_add_up_to_a_memory_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gguf_header, "MAX_ENTRIES", 100)
    settings = {f"tokenizer.{number}": [1] * 60 for number in range(2)}
    assert refusal(written(tmp_path, settings)).startswith("tokenizer.1 has 60 entries")


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ((2**40, 1), f"the number of tensors is {2**40}, and at most"),
        ((1, 2**40), f"the number of settings is {2**40}, and at most"),
        ((1, 4_000), "a key: its length is"),
    ],
)
def test_counts_of_what_is_not_there_are_refused(tmp_path: Path, counts: tuple[int, int], why: str) -> None:
    assert why in refusal(written(tmp_path, counts=counts))


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({"token_embd.weight": (4, 2**50)}, "token_embd.weight ends at byte"),
        ({"token_embd.weight": (4, 2), "a" * 70_000: (1, 1)}, "the name of tensor 1: its length is 70000"),
        ({"token_embd.weight": (4, 2, 1, 1, 1)}, "the number of dimensions is 5, and at most 4"),
    ],
)
def test_tensors_that_are_not_in_the_file_are_refused(
    tmp_path: Path, tensors: Mapping[str, Sequence[int]], why: str
) -> None:
    file = written(tmp_path, {"general.architecture": "llama"}, tensors)
    assert why in refusal(file)


def test_tensors_of_unknown_types_are_refused(tmp_path: Path) -> None:
    assert "token_embd.weight has the unknown type 999" in refusal(written(tmp_path, kind=999))


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"GGML" + bytes(100), b"GGUF" + struct.pack("<I", 9) + bytes(100)]
)
def test_what_is_no_gguf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.gguf").write_bytes(content)
    assert re.search("as a GGUF file does|before its end|version 9", refusal(tmp_path / "model.gguf"))


def test_no_damage_of_a_header_makes_anything_but_a_sentence(tmp_path: Path) -> None:
    file = written(tmp_path, {**SETTINGS, "tokenizer.ggml.token_type": [1] * 5})
    whole, draws, refused = file.read_bytes(), random.Random(0), 0
    for _ in range(2_000):
        damaged = bytearray(whole)
        for _ in range(draws.randint(1, 3)):
            damaged[draws.randrange(len(whole))] = draws.choice([0, 1, 9, 127, 255])
        file.write_bytes(damaged[: draws.choice([len(whole), draws.randrange(len(whole))])])
        try:
            check_gguf(file)
        except ModelError:
            refused += 1
    assert refused > 1_000


def test_a_file_is_checked_before_it_is_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", lambda *given, **options: pytest.fail("started"))
    with pytest.raises(ModelError, match=r"llama\.block_count is 1000000000"):
        convert_model(written(tmp_path, {**SETTINGS, "llama.block_count": 10**9}), tmp_path / "into")
