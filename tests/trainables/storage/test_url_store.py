"""Files at a URL behave alike on a disk, in memory and on an S3 server: complete or missing, and retried."""

from __future__ import annotations

import errno
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.s3_server import BUCKET, s3
from trainables.storage import url_store, urls
from trainables.storage.names import UnsafeName
from trainables.storage.url_store import StorageError, Store


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with s3():
        yield


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, server: None) -> Store:
    places = {"file": tmp_path / "remote", "memory": "runs", "s3": BUCKET}
    return Store(f"{request.param}://{places[request.param]}/{secrets.token_hex(4)}", patience=1)


def test_a_written_file_is_read_and_listed_with_its_size(store: Store) -> None:
    store.write("trials/a/record.json", b"{}")
    store.write("spec.yaml", b"name: tiny")
    assert store.read("spec.yaml") == b"name: tiny"
    assert {name: entry.size for name, entry in store.list().items()} == {
        "spec.yaml": 10,
        "trials/a/record.json": 2,
    }
    assert list(store.list("trials")) == ["trials/a/record.json"]
    assert abs((store.list()["spec.yaml"].modified or 0) - time.time()) < 60


def test_a_missing_file_is_none_and_a_missing_folder_an_empty_list(store: Store) -> None:
    assert store.read("nothing") is None
    assert store.list() == {}
    assert store.list("trials/a") == {}
    store.remove(["nothing"])


def test_a_folder_does_not_include_names_that_only_begin_like_it(store: Store) -> None:
    store.write("trials/ab/record.json", b"{}")
    assert store.list("trials/a") == {}


@pytest.fixture
def bucket(server: None) -> Callable[..., Store]:
    """Makes a store of objects with these keys, which may be any, and contents."""

    def make(**objects: bytes) -> Store:
        store = Store(f"s3://{BUCKET}/{secrets.token_hex(4)}", patience=1)
        for key, content in objects.items():
            store._fs.call_s3(
                "put_object", Bucket=BUCKET, Key=f"{store.url.rpartition('/')[2]}/{key}", Body=content
            )
        return store

    return make


def test_objects_that_mark_folders_are_no_files(bucket: Callable[..., Store], tmp_path: Path) -> None:
    marks = {"": b"", "trials/": b"", "trials": b"", "trials/a": b""}
    store = bucket(**marks, **{"trials/a/record.json": b"{}", "empty": b""})
    assert list(store.list()) == ["empty", "trials/a/record.json"]
    store.pull(store.list(), tmp_path, store.list())
    assert (tmp_path / "trials" / "a" / "record.json").read_bytes() == b"{}"


@pytest.mark.parametrize("key", ["trials", "trials/a", "trials/a/record.json"])
def test_a_file_that_is_a_folder_too_is_refused_by_name(bucket: Callable[..., Store], key: str) -> None:
    store = bucket(**{key: b"x", "trials/a/record.json/inner": b"{}"})
    with pytest.raises(UnsafeName, match=rf"^{store.url}: {key} is the name of a file, and of a folder"):
        store.list()


@pytest.mark.parametrize("key", ["trials//x", "./x", "a/../../x", "c:\\x", "a\\..\\x"])
def test_a_key_that_could_lead_out_of_a_folder_is_refused_with_the_url(
    bucket: Callable[..., Store], key: str
) -> None:
    store = bucket(**{key: b"x"})
    with pytest.raises(UnsafeName, match=rf"^{store.url}: .* is no name of a file within a folder"):
        store.list()


def test_runs_whose_names_begin_alike_or_differ_by_case_are_apart(bucket: Callable[..., Store]) -> None:
    store = bucket(**{"run/a": b"1", "run-2/a": b"2", "RUN/a": b"3", "run/inner/a": b"4"})
    read = {
        name: Store(f"{store.url}/{name}").read("a") for name in ("run", "run-2", "RUN", "run/inner", "ru")
    }
    assert read == {"run": b"1", "run-2": b"2", "RUN": b"3", "run/inner": b"4", "ru": None}
    assert list(Store(f"{store.url}/run").list()) == ["a", "inner/a"]
    assert list(Store(f"{store.url}/run/").list()) == ["a", "inner/a"]


def test_a_name_that_is_too_long_for_the_disk_is_not_tried_again(
    bucket: Callable[..., Store], tmp_path: Path
) -> None:
    store = bucket(**{"k" * 500: b"x"})
    with pytest.raises(OSError, match="File name too long") as refused:
        store.pull(store.list(), tmp_path)
    assert not isinstance(refused.value, StorageError)


def test_pushed_files_are_pulled_unchanged(store: Store, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "model").mkdir(parents=True)
    (here / "model" / "weights").write_bytes(bytes(range(256)) * 100)
    (here / "record.json").write_text("{}")
    store.push(here, ["model/weights", "record.json"])
    store.pull(store.list(), there, store.list())
    assert (there / "model" / "weights").read_bytes() == (here / "model" / "weights").read_bytes()
    assert (there / "record.json").read_text() == "{}"
    written = store.list()["record.json"].modified
    assert written is not None
    assert abs((there / "record.json").stat().st_mtime - written) < 1


def test_a_large_file_is_sent_from_disk(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(url_store, "SMALL_BYTES", 10)
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    store.push(tmp_path, ["large"])
    assert store.read("large") == b"x" * 100_000
    assert list(store.list()) == ["large"]


def test_a_missing_local_file_cannot_be_pushed(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.push(tmp_path, ["nothing"])


def test_only_the_first_creates_a_file(store: Store) -> None:
    assert store.create(".lock", b"one")
    assert not store.create(".lock", b"two")
    assert store.read(".lock") == b"one"
    store.remove([".lock"])
    assert store.create(".lock", b"two")


def test_only_one_of_two_concurrent_creates_succeeds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(".lock", b"one")
    looked = iter([None])
    read = store.read
    monkeypatch.setattr(store, "read", lambda name: next(looked, read(name)))  # it was not there just now
    assert not store.create(".lock", b"two")
    assert read(".lock") == b"one"


class Failing:
    """A file system that fails for a while."""

    def __init__(self, fs: Any, times: int, error: Exception) -> None:
        self.fs, self.times, self.error = fs, times, error

    def __getattr__(self, name: str) -> Any:
        if self.times > 0:
            self.times -= 1
            raise self.error
        return getattr(self.fs, name)


def test_a_call_that_fails_for_a_while_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(url_store, "PAUSES", (0.01, 0.02))
    store = Store("memory://again")
    store._fs = Failing(store._fs, 5, OSError(errno.EIO, "503 Slow Down"))
    store.write("a", b"1")
    assert store.read("a") == b"1"


def test_the_error_of_a_call_that_keeps_failing_says_where_what_and_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(url_store, "PAUSES", (0.01, 0.02))
    store = Store("memory://never", patience=0.1)
    store._fs = Failing(store._fs, 1000, RuntimeError("no credentials.\nmore of it"))
    with pytest.raises(StorageError, match=r"^memory://never: writing a failed: no credentials$"):
        store.write("a", b"1")


class Clock:
    """A clock that only pauses and slow calls move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.pauses = 0.0, list[float]()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def test_pauses_double_up_to_a_limit_and_none_ends_after_the_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, clock = Store("memory://slow", patience=60), Clock(monkeypatch)
    store._fs = Failing(store._fs, 1000, OSError(errno.EIO, "503"))
    with pytest.raises(StorageError):
        store.read("a")
    assert clock.pauses == [0.5, 1, 2, 4, 8, 15, 15]


def test_a_call_that_fails_for_some_seconds_is_reported_at_each_retry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, clock = Store("memory://reported", patience=60), Clock(monkeypatch)
    store._fs = Failing(store._fs, 5, OSError(errno.EIO, "503"))
    messages: list[tuple[float, str]] = []
    store.report_failures_to(lambda message: messages.append((clock.now, message)))
    assert store.read("a") is None
    message = "memory://reported: reading a failed: [Errno 5] 503; it is tried again"
    assert messages == [(7.5, message)]  # after 0.5 + 1 + 2 + 4 seconds of pauses


def test_patience_that_is_limited_ends_a_call_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    store, clock = Store("memory://limited"), Clock(monkeypatch)
    store._fs = Failing(store._fs, 1000, OSError(errno.EIO, "503"))
    store.report_failures_to(lambda message: store.limit_patience(20.0))
    with pytest.raises(StorageError):
        store.read("a")
    assert clock.pauses == [0.5, 1, 2, 4, 8]


def test_an_interrupt_does_not_wait_for_a_store_that_fails(tmp_path: Path) -> None:
    store = Store("memory://interrupted", patience=60)
    store._fs = Failing(store._fs, 1000, OSError(errno.EIO, "503"))
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"")

    def leave(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            store.push(tmp_path, ["a", "b"])
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 20


def test_a_full_disk_is_not_waited_for(tmp_path: Path) -> None:
    store = Store("memory://full")
    store.write("a", b"1")
    store._fs = Failing(store._fs, 1000, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        store.pull(["a"], tmp_path)


def test_the_error_for_a_missing_bucket_says_so(server: None) -> None:
    with pytest.raises(StorageError, match="bucket does not exist"):
        Store("s3://no-such-bucket/runs", patience=1).write("a", b"")


def test_an_incomplete_download_is_retried(tmp_path: Path) -> None:
    store = Store("memory://cut", patience=0.1)
    store.write("a", b"12")
    with pytest.raises(StorageError, match="2 of 3 bytes arrived"):
        store.pull(["a"], tmp_path, {"a": url_store.Entry(3)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://key:secret@bucket/runs", r"^s3://...@bucket/runs: a URL must not hold credentials"),
        ("filecache::s3://bucket/runs", "a chain of URLs"),
        ("zip://runs::file:///data/a.zip", "a chain of URLs"),
        ("file:///runs/a/..", "must not have . or .. between slashes"),
        ("file:///runs/./a", "must not have . or .. between slashes"),
        ("s3://bucket//runs", "it has two slashes in a row"),
        ("s3://", "it names no folder; give one, such as s3://FOLDER/runs/NAME"),
        ("file:///", "it names no folder"),
        ("s3://bucket/runs?acl=x", "must not contain \\?"),
        ("nope://bucket/runs", "Protocol not known: nope; give a path, s3://, gs://"),
    ],
)
def test_the_error_for_an_unusable_url_says_what_to_do(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Store(url)
    assert "secret" not in str(raised.value)


def test_the_error_for_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(*arguments: Any, **options: Any) -> None:
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(ValueError, match=r"gs:// needs a package .*: pip install 'paretune\[gcs\]'"):
        urls.filesystem("gs://bucket/runs")
