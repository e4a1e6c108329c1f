"""Tokens are the same wherever they are made, cached on disk, and made again when what they depend on changes."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from trainables.config.data import DataConfig
from trainables.data import arrow_rows, loading
from trainables.data.embedded import commands
from trainables.data.rows import Conversation, Preference, Text
from trainables.stages import DPO, KTO, SFT, Pretrain
from trainables.storage import cache
from trainables.system import parallel
from trainables.system.progress import progress_reported_to
from trainables.templates import TemplateError, apply
from trainables.tokenization import token_table
from trainables.trial.tokenizer import load_tokenizer


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    token_table.recent_tables.clear()
    return tmp_path / "home"


@pytest.fixture
def tokenizer(tiny_model: Path) -> PreTrainedTokenizerBase:
    load_tokenizer.cache_clear()  # a test may change its template
    return load_tokenizer(tiny_model)


@pytest.fixture
def rows(tmp_path: Path, home: Path) -> Any:
    return load(tmp_path).train


def load(folder: Path, count: int = 60) -> loading.Data:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in commands.rows()[:count]))
    return loading.load(DataConfig(train=str(path)))


def made(home: Path) -> int:
    return len(list((home / "tokens").glob("*/tokens.arrow")))


def test_rows_on_disk_have_the_tokens_of_rows_in_memory(rows: Any, tokenizer: Any) -> None:
    kept, fresh = (SFT().tokens(tokenizer, given, 64) for given in (rows, list(rows)))
    assert list(kept) == list(fresh)
    assert list(kept.rows) == list(range(len(rows)))
    assert list(kept.lengths) == [len(example.input_ids) for example in fresh]
    learned = [sum(label != -100 for label in example.labels) for example in fresh]
    assert [kept.learned(place) for place in range(len(kept))] == learned
    assert list(kept.labels) == list(fresh.labels) == learned
    assert list(kept[2:5].labels) == learned[2:5]


def test_a_row_may_be_several_examples_and_they_stay_together(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": f"{n} " + "word " * (n % 7 * 9)}) + "\n" for n in range(60)))
    rows = loading.load(DataConfig(train=str(path), eval_fraction=0.4), Text).train
    result = Pretrain().tokens(tokenizer, rows, 16)
    for place, row in enumerate(rows):
        mine = [example for example, of in zip(result, result.rows, strict=True) if of == place]
        assert mine == Pretrain().encode(tokenizer, row, 16)
    assert len(result) > len(rows)


def test_repeated_and_reordered_rows_are_encoded_once(rows: Any, tokenizer: Any, home: Path) -> None:
    whole = SFT().tokens(tokenizer, rows, 64)
    turned = arrow_rows.Rows(rows.table, rows.indices[::-1].repeat(2), rows.row_type, rows.sha256)
    result = SFT().tokens(tokenizer, turned, 64)
    assert result[0] == result[1] == whole[len(rows) - 1]
    assert made(home) == 1


def test_tokens_are_made_once_and_shared(
    rows: Any, tokenizer: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = list(SFT().tokens(tokenizer, rows, 64))
    token_table.recent_tables.clear()

    def never(*args: Any) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(token_table.Encoder, "__call__", never)
    assert list(SFT().tokens(tokenizer, rows, 64)) == first
    assert list(SFT(name="again").tokens(tokenizer, rows, 64)) == first


def test_a_change_of_what_tokens_depend_on_encodes_them_again(
    rows: Any, tokenizer: Any, home: Path, tmp_path: Path
) -> None:
    SFT().tokens(tokenizer, rows, 64)
    SFT().tokens(tokenizer, rows, 32)
    SFT(mask_history=True).tokens(tokenizer, rows, 64)
    SFT().tokens(tokenizer, rows, 64, scoring=True)
    SFT().tokens(tokenizer, load(tmp_path, 59).train, 64)
    assert made(home) == 5
    apply(tokenizer, "alpaca")
    assert "### Instruction" in tokenizer.decode(SFT().tokens(tokenizer, rows, 64)[0].input_ids)
    assert made(home) == 6
    tokenizer.add_tokens(["lamp"])
    SFT().tokens(tokenizer, rows, 64)
    assert made(home) == 7


def test_settings_that_tokens_do_not_depend_on_reuse_the_cached_tokens(home: Path, tokenizer: Any) -> None:
    rows = loading.load(DataConfig(train="commands"), Preference).train[:50]
    DPO().tokens(tokenizer, rows, 64)
    DPO(beta=0.5).tokens(tokenizer, rows, 64)
    assert made(home) == 1
    assert KTO().encoding == ()


def test_rows_encoded_on_all_cores_give_the_same_tokens(
    rows: Any, tokenizer: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = list(SFT().tokens(tokenizer, rows, 200))
    monkeypatch.setattr(token_table, "BATCH", 4)
    monkeypatch.setattr(parallel, "cpu_cores", lambda: 2)
    steps: list[Any] = []
    with progress_reported_to(lambda *step: steps.append(step)):
        spread = token_table.tokenize_rows(SFT(), tokenizer, rows, 201)
    assert [example.input_ids for example in spread] == [example.input_ids for example in alone]
    assert steps[-1] == ("tokenizing rows", len(rows), len(rows))
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)


def test_a_template_error_in_another_process_is_raised_and_leaves_no_cache(
    rows: Any, tokenizer: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.chat_template = "{{ raise_exception('no place for this') }}"
    monkeypatch.setattr(token_table, "BATCH", 4)
    monkeypatch.setattr(parallel, "cpu_cores", lambda: 2)
    with pytest.raises(ValueError, match="no place for this"):
        SFT().tokens(tokenizer, rows, 64)
    assert made(home) == 0
    assert not [path for path in (home / "tokens").iterdir() if path.is_dir()]


def double(piece: int) -> int:
    if piece == 70:
        raise ValueError("seventy")
    return 2 * piece


def test_results_from_several_processes_keep_the_order_of_their_items(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parallel, "cpu_cores", lambda: 2)
    assert list(parallel.map_in_order(double, range(60))) == list(range(0, 120, 2))
    pieces = iter(range(100_000))
    with pytest.raises(ValueError, match="seventy"):
        list(parallel.map_in_order(double, pieces))
    assert next(pieces) < 100  # what is read ahead is bounded


def test_entries_that_were_unused_for_a_month_are_removed_when_one_is_added(home: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "it").write_text("it")

    old, used = (cache.entry("tokens", key * 16, write) for key in "ab")
    long_ago = time.time() - (cache.DAYS + 1) * 24 * 3600
    for folder in (old, used):
        os.utime(folder, (long_ago, long_ago))
    cache.entry("tokens", "b" * 16, write)
    cache.entry("tokens", "c" * 16, write)
    assert (old.exists(), used.exists()) == (False, True)


def test_no_incomplete_entry_is_cached(home: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("half")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        cache.entry("tokens", "d" * 16, fails)
    assert not [path for path in (home / "tokens").iterdir() if path.is_dir()]


def test_tokens_are_views_of_a_file_and_not_copies(rows: Any, tokenizer: Any) -> None:
    import pyarrow as pa

    before = pa.total_allocated_bytes()
    result = SFT().tokens(tokenizer, rows, 64)
    values = result.table["input_ids"].chunk(0).values
    assert pa.total_allocated_bytes() - before < values.nbytes + 2**16
    token_table.recent_tables.clear()
    again = SFT().tokens(tokenizer, rows, 64)
    assert pa.total_allocated_bytes() - before < 2**16
    assert np.array_equal(again.lengths, result.lengths)


def test_two_conversations_that_differ_have_different_identities(tmp_path: Path, home: Path) -> None:
    one, other = load(tmp_path).train, load(tmp_path, 58).train
    assert one.identity != other.identity
    assert one.identity == one[:].identity
    assert one[:5].identity != one[:6].identity
    assert isinstance(one[0], Conversation)


def test_the_error_of_a_template_names_the_row(
    rows: Any, tokenizer: PreTrainedTokenizerBase, home: Path
) -> None:
    content = rows[3].answer
    fails = "{%- if messages[-1].content == CONTENT %}{{ messages.missing.part }}{%- endif %}"
    tokenizer.chat_template = fails.replace("CONTENT", json.dumps(content)) + str(tokenizer.chat_template)
    first = next(number for number in range(len(rows)) if rows[number].answer == content)
    for given, place in ((rows, rows.where(first)), (list(rows), f"row {first + 1}")):
        token_table.recent_tables.clear()
        with pytest.raises(TemplateError, match=f"^{re.escape(place)}: "):
            SFT().tokens(tokenizer, given, 64)
