"""Names that somebody else gives stay within their folder, wherever they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainables.storage import cache
from trainables.storage.names import UnsafeName, checked_name, leads_out, within
from trainables.storage.url_store import Store
from trainables.trial.staged_inputs import StagedInputs

UNSAFE = [
    "", ".", "..", "/", "/etc/passwd", "//host/share", "../x", "a/..", "a/../x", "model/../../../x", "a//x", "a/./x",
    "a/", "a\0.txt", "C:/x", "C:x", "..\\x", "a\\..\\x", "\\\\host\\share",
]  # fmt: skip
SAFE = [
    "a",
    "a/b.json",
    ".hidden",
    "..a/b..",
    "a b/é",
    "model-00001-of-00002.safetensors",
    "x" * 300,
    "a:b.txt"[:1],
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_could_lead_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeName, match="could lead out of the folder"):
        within(tmp_path, name)


@pytest.mark.parametrize("name", SAFE)
def test_any_other_name_is_a_path_in_the_folder(tmp_path: Path, name: str) -> None:
    assert within(tmp_path, checked_name(name)) == tmp_path / name


def test_paths_that_people_write_may_have_more_than_names_that_programs_give() -> None:
    assert not leads_out("./a/../b.json")
    assert all(map(leads_out, ("a/../../b.json", "..", "/x", "a\0b")))


@pytest.mark.parametrize("key", ["model/../../../x", "model//x", "../x", "./x"])
def test_a_store_with_a_key_that_leads_out_of_its_folder_is_not_copied(tmp_path: Path, key: str) -> None:
    store = Store(f"memory://{tmp_path.name}/run", patience=60)
    store.write("spec.yaml", b"name: x")
    store._fs.store[f"/{tmp_path.name}/run/{key}"] = store._fs.store[f"/{tmp_path.name}/run/spec.yaml"]
    with pytest.raises(UnsafeName):
        store.list()
    folder = tmp_path / "copy" / "deep" / "down"
    with pytest.raises(UnsafeName):  # at once, and not after the patience
        store.pull([key], folder)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("call", ["read", "write", "create", "list", "pull", "push", "remove", "within"])
def test_no_call_to_a_store_takes_a_name_that_leads_out(tmp_path: Path, call: str) -> None:
    store = Store(f"memory://{tmp_path.name}/run", patience=60)
    calls = {
        "read": lambda: store.read("../x"),
        "write": lambda: store.write("../x", b""),
        "create": lambda: store.create("../x", b""),
        "list": lambda: store.list("../x"),
        "pull": lambda: store.pull(["../x"], tmp_path),
        "push": lambda: store.push(tmp_path, ["../x"]),
        "remove": lambda: store.remove(["../x"]),
        "within": lambda: store.within("../x"),
    }
    (tmp_path.parent / "x").write_text("x")
    with pytest.raises(UnsafeName):
        calls[call]()


def test_a_marker_of_a_folder_is_no_file(tmp_path: Path) -> None:
    store = Store(f"memory://{tmp_path.name}/run", patience=1)
    store.write("trials/a", b"x")
    store._fs.store[f"/{tmp_path.name}/run/models/"] = store._fs.store[f"/{tmp_path.name}/run/trials/a"]
    assert list(store.list()) == ["trials/a"]


@pytest.mark.parametrize("at", ["../../secret", "/etc/passwd", ".."])
@pytest.mark.parametrize("url", [None, "memory://somebody/run"])
def test_the_index_of_a_run_names_no_file_outside_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, url: str | None
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    index = {
        "url": url,
        "paths": {"/data/rows.jsonl": {"at": at, "files": {"/data/rows.jsonl": ["/nowhere", 1]}}},
    }
    (tmp_path / "given.json").write_text(json.dumps(index))
    with pytest.raises(UnsafeName):
        StagedInputs.read(tmp_path)._local_path(Path("/data/rows.jsonl"))


def test_a_cached_folder_has_a_key_that_stays_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    with pytest.raises(UnsafeName):
        cache.entry("given", "../../x", lambda folder: None)
    assert not (tmp_path / "home").exists()
