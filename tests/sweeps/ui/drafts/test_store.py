"""Drafts outlive the page and the UI, and no change of one browser is lost to another."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.ui.drafts.store import DraftStore, Outdated, TooLong


def test_a_draft_is_read_by_another_store(tmp_path: Path) -> None:
    draft = DraftStore(tmp_path).create("name: mine\r\n", "mine", "methods")
    assert DraftStore(tmp_path).get(draft.id) == draft
    assert draft.text == "name: mine\n"
    assert [each.id for each in DraftStore(tmp_path).list()] == [draft.id]


def test_a_change_of_an_older_version_is_refused_with_the_newer_text(tmp_path: Path) -> None:
    store = DraftStore(tmp_path)
    draft = store.create("a: 1\n", "mine", "")
    store.save(draft.id, "a: 2\n", draft.version)
    with pytest.raises(Outdated) as refused:
        store.save(draft.id, "a: 3\n", draft.version)
    assert refused.value.newer.text == "a: 2\n"
    assert store.get(draft.id) == refused.value.newer


def test_the_same_text_again_is_no_change(tmp_path: Path) -> None:
    store = DraftStore(tmp_path)
    draft = store.create("a: 1\n", "mine", "")
    newer = store.save(draft.id, "a: 2\n", 1)
    assert newer is not None
    assert store.save(draft.id, "a: 2\n", 1) == newer  # as after an answer that was lost


@pytest.mark.parametrize("wrong", ["../../etc/passwd", "", "0" * 15, "0" * 16 + ".json", "G" * 16])
def test_an_id_is_no_path(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "passwd.json").write_text("{}")
    assert DraftStore(tmp_path / "drafts").get(wrong) is None
    DraftStore(tmp_path / "drafts").remove(wrong)
    assert (tmp_path / "passwd.json").exists()


def test_a_damaged_draft_and_a_link_are_no_drafts(tmp_path: Path) -> None:
    store = DraftStore(tmp_path / "drafts")
    draft = store.create("a: 1\n", "mine", "")
    path = store.folder / f"{draft.id}.json"
    outside = tmp_path / "outside.json"
    outside.write_text(path.read_text())
    path.write_text("{")
    assert store.get(draft.id) is None
    path.unlink()
    path.symlink_to(outside)
    assert store.get(draft.id) is None
    assert store.list() == []


def test_a_text_longer_than_a_spec_may_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TooLong, match="262,144"):
        DraftStore(tmp_path).create("#" * (2**18 + 1), "long", "")
