"""From a file to bytes and lines of text: plain, .gz or .zst, never more than the limits allow at a time.

with unpacking.opened(Path("rows.jsonl.gz")) as stream:
    for number, line in unpacking.lines(stream, "rows.jsonl.gz"): ...
"""

from __future__ import annotations

import codecs
import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from trainables.data.errors import DataError

PACKED = (".gz", ".zst")
PIECE_BYTES = 1 << 16

# What people give for a file of rows by mistake, known by its first bytes; UTF-32's mark starts with UTF-16's.
LOOKALIKES = {
    b"\xff\xfe\x00\x00": "it is UTF-32; save it as UTF-8",
    b"\x00\x00\xfe\xff": "it is UTF-32; save it as UTF-8",
    b"\xff\xfe": "it is UTF-16; save it as UTF-8",
    b"\xfe\xff": "it is UTF-16; save it as UTF-8",
    b"\x1f\x8b": "it is gzip inside; add .gz to its name, or unpack it",
    b"\x28\xb5\x2f\xfd": "it is zstd inside; add .zst to its name, or unpack it",
    b"PK\x03\x04": "it is a zip archive inside (an .xlsx is one too); unpack it, or save the sheet as CSV",
    b"version https://git-lfs.github.com/": "it is a Git LFS pointer, not the data; run git lfs pull",
}


@dataclass(frozen=True)
class Limits:
    """How much one file may ask of the memory and the disk. In a JSON array a row counts as a line."""

    line_bytes: int = 16 << 20
    unpacked_bytes: int = 1 << 30
    ratio: float = 200  # beyond both this many times its packed size and unpacked_bytes, a file is refused


LIMITS = Limits()


def packing(path: Path) -> str | None:
    """``.gz`` or ``.zst`` by the name, or None for a plain file."""
    suffix = path.suffix.lower()
    return suffix if suffix in PACKED else None


@contextmanager
def opened(path: Path, limits: Limits = LIMITS) -> Iterator[io.BufferedReader[Any]]:
    """The file's bytes, unpacked as they are read."""
    with _file(path) as file, io.BufferedReader(_Unpacked(path, file, limits), PIECE_BYTES) as stream:
        head = stream.peek(PIECE_BYTES)
        if not head:
            raise DataError(f"{path}: the file is empty; give one with rows")
        for mark, advice in LOOKALIKES.items():
            if head.startswith(mark):
                raise DataError(f"{path}: {advice}")
        yield stream


@contextmanager
def plain(path: Path, limits: Limits = LIMITS) -> Iterator[Path]:
    """The unpacked file on disk, for kinds that are read from their end."""
    with opened(path, limits) as stream:
        if packing(path) is None:
            yield path
            return
        with tempfile.NamedTemporaryFile(prefix="paretune-") as copy:
            shutil.copyfileobj(stream, copy, PIECE_BYTES)
            copy.flush()
            yield Path(copy.name)


def lines(stream: io.BufferedReader[Any], label: str, limits: Limits = LIMITS) -> Iterator[tuple[int, str]]:
    """(number, line with its line end): only a line feed ends one, since a text may hold other separators."""
    for number in count(1):
        line = stream.readline(limits.line_bytes + 1)
        if not line:
            return
        where = f"{label}:{number}"
        if len(line) > limits.line_bytes:
            raise too_long(where, "the line", limits)
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(where, error) from error
        yield number, _without_nul(text, where)


def pieces(stream: io.BufferedReader[Any], label: str) -> Iterator[str]:
    """The text in pieces of some 64 KiB, for what isn't bound to lines."""
    decoder, line = codecs.getincrementaldecoder("utf-8-sig")(), 1
    while True:
        data = stream.read1(PIECE_BYTES)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line += error.object.count(b"\n", 0, error.start)
            raise _not_utf8(f"{label}:{line}", error) from error
        yield _without_nul(text, f"{label}:{line + text.partition(chr(0))[0].count(chr(10))}")
        if not data:
            return
        line += text.count("\n")


def too_long(where: str, what: str, limits: Limits) -> DataError:
    size = f"{limits.line_bytes:,} bytes"
    return DataError(f"{where}: {what} is longer than {size}; is a line end, a quote or a bracket missing?")


def _not_utf8(where: str, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    start = error.start - error.object.rfind(b"\n", 0, error.start)
    return DataError(f"{where}: byte 0x{byte:02x} (near column {start}) is not UTF-8; save the file as UTF-8")


def _without_nul(text: str, where: str) -> str:
    if "\0" in text:
        raise DataError(f"{where}: a NUL byte; is it UTF-16, or not a text? Save it as UTF-8")
    return text


def _file(path: Path) -> BinaryIO:
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise DataError(f"{path}: not a plain file; give a file of rows")
        return open(path, "rb")
    except OSError as error:
        advice = "allow reading it (chmod u+r)" if isinstance(error, PermissionError) else "give another path"
        raise DataError(f"{path}: can't be opened: {error.strerror}; {advice}") from error


def _unpacker(path: Path, file: BinaryIO) -> Callable[[int], bytes]:
    if packing(path) == ".gz":
        return gzip.GzipFile(fileobj=file).read1
    if packing(path) == ".zst":
        import pyarrow as pa

        return pa.CompressedInputStream(file, "zstd").read
    return file.read


class _Unpacked(io.RawIOBase):
    """Unpacks while it is read, and stops at a bomb: a small file that unpacks to more than a disk holds."""

    def __init__(self, path: Path, file: BinaryIO, limits: Limits) -> None:
        self.path, self.unpack = path, _unpacker(path, file)
        self.most = max(limits.unpacked_bytes, limits.ratio * path.stat().st_size)
        self.most = self.most if packing(path) else float("inf")
        self.unpacked_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.unpack(len(buffer))
        except (OSError, EOFError, ValueError, zlib.error) as error:  # pyarrow's errors are of these too
            raise DataError(
                f"{self.path}: damaged or cut off: {error}; fetch or pack the file again"
            ) from error
        self.unpacked_bytes += len(data)
        refuse_bomb(self.path, self.unpacked_bytes, self.most)
        buffer[: len(data)] = data
        return len(data)


def refuse_bomb(path: Path, unpacked_bytes: int, most: float) -> None:
    if unpacked_bytes > most:
        size = path.stat().st_size
        raise DataError(
            f"{path}: unpacks to over {most:,.0f} bytes from {size:,}, like a decompression bomb; "
            "if you trust it, unpack it yourself and split it into smaller files"
        )
