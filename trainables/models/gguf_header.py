"""The header of a GGUF file, checked before a library reads it that trusts every number in it.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from trainables.models.config_sizes import absurd_size
from trainables.models.folder import ModelError
from trainables.system.wording import counted

MAGIC = b"GGUF"
VERSIONS = (2, 3)
# The largest numbers of models that are published are in brackets.
MAX_SETTINGS = 2**12  # (60)
MAX_TENSORS = 2**17  # of one file (2,600)
MAX_NAME_BYTES = 2**16 - 1  # that the format allows
MAX_TEXT_BYTES = 2**24  # (20,000 of a chat template)
MAX_ENTRIES = 2**22  # of all lists together (1,300,000: tokens, their scores and types, merges)
MAX_DIMENSIONS = 4  # that the format allows
STRING, LIST = 8, 9
# Of other types of values, as `struct` writes them.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
SIZES = (".block_count", ".embedding_length")
LAYER = re.compile(r"(?:^|\.)blk\.(\d+)\.")  # in a tensor's name
EMBEDDING = "token_embd.weight"  # (embedding_length, tokens)


class _HeaderError(ValueError):
    """What is wrong in a header, with the key or tensor that it is in."""


@dataclass(frozen=True)
class _Tensor:
    """A tensor's ``shape``, the number of its type, and where it begins behind the header, in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


def check_gguf(file: Path) -> None:
    """Raises ``ModelError`` with the file, the key and the limit where a header asks for what no model has, or isn't
    one.
    """
    try:
        with file.open("rb") as opened:
            header = _Header(opened, file.stat().st_size)
            settings, tensors = header.read()
            _check_settings(settings, tensors)
            _check_extent(tensors, opened.tell(), header.size)
    except (_HeaderError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: {error}. Download the file again, or use another one.") from error


class _Header:
    """Reads a header from the beginning of an opened file of ``size`` bytes."""

    def __init__(self, opened: BinaryIO, size: int) -> None:
        self.opened, self.size = opened, size
        self.order = "<"
        self.entries = 0

    def read(self) -> tuple[dict[str, Any], list[_Tensor]]:
        """The settings by key, those with texts as ``None``; and the tensors."""
        if self._bytes(len(MAGIC), "the file") != MAGIC:
            raise _HeaderError("it doesn't begin as a GGUF file does")
        start = self._bytes(4, "the version")
        self.order = "<" if start[0] or start[1] else ">"  # a version that is small in either order of bytes
        (version,) = struct.unpack(f"{self.order}I", start)
        if version not in VERSIONS:
            raise _HeaderError(f"version {version} of the format; versions 2 and 3 can be read")
        tensors = self._limited("Q", "the number of tensors", MAX_TENSORS)
        settings = self._limited("Q", "the number of settings", MAX_SETTINGS)
        found = dict(self._setting() for _ in range(settings))
        return found, [self._tensor(number) for number in range(tensors)]

    def _setting(self) -> tuple[str, Any]:
        key = self._text("a key", MAX_NAME_BYTES)
        return key, self._value(key, self._number("I", key))

    def _value(self, key: str, kind: int) -> Any:
        """The value of a setting; ``None`` for a text and for a list of texts."""
        if kind == STRING:
            self._skip_text(key)
            return None
        if kind != LIST:
            return self._number(self._format(key, kind), key)
        inner, length = self._number("I", key), self._number("Q", key)
        self.entries += length
        if self.entries > MAX_ENTRIES:
            raise _HeaderError(
                f"{key} has {length} entries, and at most {MAX_ENTRIES} in all lists are possible"
            )
        if inner == STRING:
            for _ in range(length):
                self._skip_text(key)
            return None
        form = self._format(key, inner)
        content = self._bytes(length * struct.calcsize(form), key)
        return list(struct.unpack(f"{self.order}{length}{form}", content))

    def _format(self, key: str, kind: int) -> str:
        if kind not in NUMBERS:
            raise _HeaderError(f"{key} has a value of the unknown type {kind}")
        return NUMBERS[kind]

    def _tensor(self, number: int) -> _Tensor:
        name = self._text(f"the name of tensor {number}", MAX_NAME_BYTES)
        dimensions = self._limited("I", f"{name}: the number of dimensions", MAX_DIMENSIONS)
        shape = tuple(self._number("Q", name) for _ in range(dimensions))
        return _Tensor(name, shape, self._number("I", name), self._number("Q", name))

    def _limited(self, form: str, what: str, limit: int) -> int:
        number = self._number(form, what)
        if number > limit:
            raise _HeaderError(f"{what} is {number}, and at most {limit} is possible")
        return int(number)

    def _number(self, form: str, what: str) -> Any:
        return struct.unpack(f"{self.order}{form}", self._bytes(struct.calcsize(form), what))[0]

    def _text(self, what: str, limit: int) -> str:
        return self._bytes(self._limited("Q", f"{what}: its length", limit), what).decode()

    def _skip_text(self, key: str) -> None:
        self._bytes(self._limited("Q", f"{key}: the length of a text", MAX_TEXT_BYTES), key)

    def _bytes(self, count: int, what: str) -> bytes:
        # Not read before it is known to be there: a few bytes may announce gigabytes.
        content = self.opened.read(count) if count <= self.size else b""
        if len(content) < count:
            raise _HeaderError(f"{what}: the file ends before its end, after {self.size} bytes")
        return content


def _check_settings(settings: dict[str, Any], tensors: list[_Tensor]) -> None:
    """Sizes that no model has, and those that aren't the weights' own: layers without weights would be made up."""
    sizes = {key: value for key, value in settings.items() if not key.startswith("tokenizer.")}
    for key, value in sizes.items():
        if key.endswith(SIZES) and not isinstance(value, int | float):
            raise _HeaderError(f"{key} is no number, and a whole number is needed")
    if (absurd := absurd_size(sizes)) is not None:
        raise _HeaderError(absurd)
    layers = {found[1] for tensor in tensors if (found := LAYER.search(tensor.name)) is not None}
    embedding = next((tensor.shape for tensor in tensors if tensor.name == EMBEDDING), ())
    for key, value in sizes.items():
        if key.endswith(".block_count") and value > len(layers):
            raise _HeaderError(
                f"{key} is {value}, and the file has weights of {counted(len(layers), 'layer')}"
            )
        if key.endswith(".embedding_length") and embedding and value != embedding[0]:
            raise _HeaderError(f"{key} is {value}, and {EMBEDDING} has {embedding[0]}")


def _check_extent(tensors: list[_Tensor], end: int, size: int) -> None:
    for name, needed in _extents(tensors):
        if end + needed > size:
            raise _HeaderError(f"{name} ends at byte {end + needed}, and the file has {size}")


def _extents(tensors: list[_Tensor]) -> Iterator[tuple[str, int]]:
    """For each tensor, how many bytes there have to be behind the header, apart from padding."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    sizes = {int(kind): sizes for kind, sizes in GGML_QUANT_SIZES.items()}
    for tensor in tensors:
        if tensor.kind not in sizes:
            known = f"up to {max(map(int, GGMLQuantizationType))}"
            raise _HeaderError(f"{tensor.name} has the unknown type {tensor.kind}; types {known} are known")
        weights, width = sizes[tensor.kind]
        yield tensor.name, tensor.offset + math.prod(tensor.shape) // weights * width
