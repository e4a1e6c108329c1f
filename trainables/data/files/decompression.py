"""Reads plain, .gz and .zst files as bytes or lines of text, within limits of memory and disk.

with decompression.open_decompressed(Path("rows.jsonl.gz")) as stream:
    for number, line in decompression.read_lines(stream, "rows.jsonl.gz"): ...
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

COMPRESSED_SUFFIXES = (".gz", ".zst")
PIECE_BYTES = 1 << 16

# Files that are given by mistake, recognized by their first bytes. UTF-32 before UTF-16, whose mark it begins with.
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
    """How much memory and disk one file may take. In a JSON array each row counts as a line.

    A compressed file is refused if it decompresses to more than ``unpacked_bytes`` and more than ``ratio`` times its
    size.
    """

    line_bytes: int = 16 << 20
    unpacked_bytes: int = 1 << 30
    ratio: float = 200


LIMITS = Limits()


def compression(path: Path) -> str | None:
    """``.gz`` or ``.zst``, by the file's name; ``None`` for a plain file."""
    suffix = path.suffix.lower()
    return suffix if suffix in COMPRESSED_SUFFIXES else None


@contextmanager
def open_decompressed(path: Path, limits: Limits = LIMITS) -> Iterator[io.BufferedReader[Any]]:
    """The file's bytes, decompressed as they are read."""
    with _open(path) as file, io.BufferedReader(_Decompressed(path, file, limits), PIECE_BYTES) as stream:
        # Peeking consumes nothing: the caller reads the same bytes again.
        head = stream.peek(PIECE_BYTES)
        if not head:
            raise DataError(f"{path}: the file is empty; give a file with rows")
        for mark, advice in LOOKALIKES.items():
            if head.startswith(mark):
                raise DataError(f"{path}: {advice}")
        yield stream


@contextmanager
def decompressed_file(path: Path, limits: Limits = LIMITS) -> Iterator[Path]:
    """A decompressed copy on disk, or the file itself if it is plain: Parquet and Arrow files are not read in order."""
    with open_decompressed(path, limits) as stream:
        if compression(path) is None:
            yield path
            return
        with tempfile.NamedTemporaryFile(prefix="paretune-") as copy:
            shutil.copyfileobj(stream, copy, PIECE_BYTES)
            # The copy is opened by its name, so nothing may be left in this object's buffer.
            copy.flush()
            yield Path(copy.name)


def read_lines(
    stream: io.BufferedReader[Any], label: str, limits: Limits = LIMITS
) -> Iterator[tuple[int, str]]:
    """(number, line with its line end). Only a line feed ends a line, since texts may hold other separators."""
    for number in count(1):
        # One byte above the limit tells a line that is too long from one of exactly the limit.
        line = stream.readline(limits.line_bytes + 1)
        if not line:
            return
        where = f"{label}:{number}"
        if len(line) > limits.line_bytes:
            raise too_long_error(where, "the line", limits)
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(where, error) from error
        yield number, _without_nul(text, where)


def read_pieces(stream: io.BufferedReader[Any], label: str) -> Iterator[str]:
    """The text in pieces of about 64 KiB, for formats that do not depend on lines."""
    decoder, line = codecs.getincrementaldecoder("utf-8-sig")(), 1
    while True:
        # A piece may end within a character, whose first bytes the decoder holds back until the next piece.
        data = stream.read1(PIECE_BYTES)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            # error.object is this piece after the bytes that were held back, which contain no line feed.
            line += error.object.count(b"\n", 0, error.start)
            raise _not_utf8(f"{label}:{line}", error) from error
        # The line of a NUL byte: the line feeds before it in this piece, added to those of earlier pieces.
        yield _without_nul(text, f"{label}:{line + text.partition(chr(0))[0].count(chr(10))}")
        if not data:
            return
        line += text.count("\n")


def too_long_error(where: str, what: str, limits: Limits) -> DataError:
    """The error for a line or row above the limit."""
    size = f"{limits.line_bytes:,} bytes"
    return DataError(f"{where}: {what} is longer than {size}; is a line end, a quote or a bracket missing?")


def _not_utf8(where: str, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    start = error.start - error.object.rfind(b"\n", 0, error.start)
    # Nearly every byte is a character in Windows-1252, whether the file is or not.
    character = bytes([byte]).decode("cp1252", "ignore")
    guess = f" ({character} in Windows-1252, if it is that)" if character else ""
    return DataError(
        f"{where}: byte 0x{byte:02x} (near column {start}) is not UTF-8{guess}; "
        "save the file as UTF-8, in a spreadsheet as CSV UTF-8"
    )


def _without_nul(text: str, where: str) -> str:
    if "\0" in text:
        raise DataError(f"{where}: a NUL byte; is it UTF-16, or not a text? Save it as UTF-8")
    return text


def _open(path: Path) -> BinaryIO:
    try:
        if path.exists() and not path.is_file():  # opening a named pipe would wait forever
            raise DataError(f"{path}: not a regular file; give a file of rows")
        return open(path, "rb")
    except OSError as error:
        advice = "make it readable (chmod u+r)" if isinstance(error, PermissionError) else "give another path"
        raise DataError(f"{path}: can't be opened: {error.strerror}; {advice}") from error


def _reader(path: Path, file: BinaryIO) -> Callable[[int], bytes]:
    if compression(path) == ".gz":
        return gzip.GzipFile(fileobj=file).read1
    if compression(path) == ".zst":
        import pyarrow as pa

        return pa.CompressedInputStream(file, "zstd").read
    return file.read


class _Decompressed(io.RawIOBase):
    """Decompresses while it is read; stops at a decompression bomb, a small file that would fill a disk."""

    def __init__(self, path: Path, file: BinaryIO, limits: Limits) -> None:
        self.path, self.read_bytes = path, _reader(path, file)
        # A small file may compress very well, and a large one may unpack to many GiB: both limits count.
        allowed = max(limits.unpacked_bytes, limits.ratio * path.stat().st_size)
        self.allowed_bytes = allowed if compression(path) else float("inf")
        self.unpacked_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.read_bytes(len(buffer))
        except (OSError, EOFError, ValueError, zlib.error) as error:  # pyarrow's errors are among these
            raise DataError(
                f"{self.path}: damaged or cut off: {error}; download or compress the file again"
            ) from error
        self.unpacked_bytes += len(data)
        refuse_bomb(self.path, self.unpacked_bytes, self.allowed_bytes)
        buffer[: len(data)] = data
        return len(data)


def refuse_bomb(path: Path, unpacked_bytes: float, allowed_bytes: float) -> None:
    """Raises :class:`DataError` if a file has decompressed to more than it may."""
    if unpacked_bytes > allowed_bytes:
        size = path.stat().st_size
        raise DataError(
            f"{path}: decompresses to over {allowed_bytes:,.0f} bytes from {size:,}, like a decompression bomb; "
            "if you trust it, decompress it yourself and split it into smaller files"
        )
