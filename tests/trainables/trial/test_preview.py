"""`paretune data`: what the models will see, and that a trial trains on just that."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.console.data_preview import (
    MAX_CHARACTERS,
    _example_json,
    allot,
    histogram,
    preview_lines,
    to_json,
    visible,
)
from tests.helpers.sweeps import SPEC, write_spec
from tests.helpers.tiny_model import CHATML
from tests.helpers.trials import make_config, run
from trainables.data import loading
from trainables.data.errors import DataError
from trainables.data.rows import Labelled
from trainables.tokenization import token_table
from trainables.trial.preview import _shown_places, _title, preview_data
from trainables.trial.tokenizer import load_tokenizer

SPLITS = "{{ message['content'] if message['role'] == 'user' or loop.last else 'So.' }}"
TALK = [
    {"role": "user", "content": "你好"},
    {"role": "assistant", "content": "你好！有什么可以帮忙？"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "Goodbye"},
]


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Forty conversations of two answers each, the first in Chinese; one is broken."""
    rows: list[Any] = [{"messages": [{**TALK[0], "content": f"你好 {n}"}, *TALK[1:]]} for n in range(40)]
    rows[5] = {"messages": TALK[:1]}
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(("mask_history", "learned"), [(False, 2), (True, 1)])
def test_every_answer_bears_the_loss_or_only_the_last(
    tiny_model: Path, talks: Path, mask_history: bool, learned: int
) -> None:
    config = make_config(tiny_model, talks, "lora")
    stage = config.stage.model_copy(update={"mask_history": mask_history})
    found = preview_data(config.model_copy(update={"stage": stage}))
    for row in found.examples:
        answers = [text for text, bears_loss in row if bears_loss]
        assert len(answers) == learned
        assert "Goodbye" in answers[-1]
        assert ("帮忙" in answers[0]) == (not mask_history)


def test_a_named_template_trains_scores_and_is_saved_with_the_model(
    tiny_model: Path, talks: Path, tmp_path: Path
) -> None:
    config = make_config(tiny_model, talks, "full", steps=2)
    named = config.model_copy(update={"data": config.data.model_copy(update={"template": "llama3"})})
    record = run(named, tmp_path / "run")
    assert record.status == "done", record.error
    assert record.template_sha256 != run(config, tmp_path / "run").template_sha256
    saved = load_tokenizer(tmp_path / "run" / "trials" / record.trial_id / "model")
    assert "<|start_header_id|>" in str(saved.chat_template)


def test_the_command_shows_counts_lengths_marked_rows_and_problems(
    tiny_model: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    spec = write_spec(
        tmp_path / "spec",
        tiny_model,
        SPEC.replace("rows.jsonl", str(talks)).replace("cutoff: 64", "cutoff: 256"),
    )
    found = CliRunner().invoke(app, ["data", str(spec)])
    assert found.exit_code == 0, found.output
    assert "talks.jsonl: messages format (detected from its columns: messages)" in found.stdout
    assert "1 of 40 rows left out: 1 because it ends without an answer (talks.jsonl:6)" in found.stdout
    assert "«Goodbye" in found.stdout
    (reported,) = json.loads(CliRunner().invoke(app, ["data", str(spec), "--json"]).stdout)
    assert sum(reported["rows"].values()) == 39
    assert sum(count for _, _, count in reported["histogram"]) == reported["rows"]["training"]
    assert reported["problems"]
    assert {piece["left_out"] for row in reported["examples"] for piece in row} == {0}


def test_the_examples_are_of_different_rows_and_say_where_these_are(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(2)]
    held_out = [{"prompt": f"held out {n}", "completion": "x"} for n in range(8)]
    for name, content in (("rows", rows), ("held", held_out)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    config = make_config(tiny_model, tmp_path / "rows.jsonl", "lora")
    data = config.data.model_copy(update={"eval": str(tmp_path / "held.jsonl")})
    found = preview_data(config.model_copy(update={"data": data}))
    assert found.titles == ("rows.jsonl:1", "rows.jsonl:2")
    learned = ["".join(text for text, bears_loss in pieces if bears_loss) for pieces in found.examples]
    assert [text.partition("<")[0] for text in learned] == ["answer 0", "answer 1"]


def test_both_sides_of_a_pair_and_labels_are_shown_and_named() -> None:
    rows = [
        Labelled(({"role": "user", "content": "?"},), "Yes.", True),
        Labelled(({"role": "user", "content": "?"},), "No.", False),
    ]
    tokens: Any = SimpleNamespace(rows=np.array([0, 0, 1, 1]))
    assert [_title([None, None], tokens, place, 2) for place in range(4)] == [
        "row 1, chosen",
        "row 1, rejected",
        "row 2, chosen",
        "row 2, rejected",
    ]
    tokens = SimpleNamespace(rows=np.array([0, 1]))
    assert [_title(rows, tokens, place, 1) for place in range(2)] == [
        "row 1, labelled good",
        "row 2, labelled bad",
    ]
    places = [(4, 2, [0, 1, 2, 3]), (200, 2, [0, 1, 66, 67, 132, 133]), (2, 1, [0, 1]), (1, 1, [0])]
    for count, per_row, shown in places:
        examples: Any = range(count)
        assert _shown_places(examples, per_row) == shown


@pytest.mark.parametrize(
    ("stage", "said", "rows", "examples"),
    [
        ("dpo", "tokens per prompt and answer, of 3 training pairs: ", 3, 6),
        ("kto", "tokens per example, of 3 training examples: ", 3, 3),
        ("sft", "tokens per example, of 6 training examples from 3 rows: ", 3, 6),
    ],
)
def test_pairs_labelled_answers_and_split_turns_are_counted_as_what_they_are(
    tiny_model: Path, tmp_path: Path, stage: str, said: str, rows: int, examples: int
) -> None:
    def row(number: int) -> dict[str, Any]:
        if stage == "sft":
            turns = [("user", f"{number}?"), ("assistant", "One."), ("user", "And?"), ("assistant", "Two.")]
            return {"messages": [{"role": role, "content": text} for role, text in turns]}
        pair, labelled = {"chosen": "Yes.", "rejected": "No."}, {"completion": "Yes.", "label": number % 2}
        return {"prompt": f"{number}?", **(pair if stage == "dpo" else labelled)}

    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(5)))
    template = tmp_path / "splits.jinja"  # writes earlier answers otherwise than the last
    template.write_text(CHATML.replace("{{ message['content'] }}", SPLITS))
    config = make_config(tiny_model, path, stage={"kind": stage}, cutoff=256)
    data = config.data.model_copy(update={"eval_count": 2, "template": str(template)})
    found = preview_data(config.model_copy(update={"data": data}))
    assert any(line.startswith(said) for line in preview_lines(config, found))
    shown = to_json(config, found)["tokens"]
    assert (shown["rows"], shown["examples"]) == (rows, examples)


def test_characters_that_a_terminal_does_not_show_are_shown() -> None:
    assert visible("a\tb\0c\r\nd\u200be") == "a␉b␀c␍\nd<U+200B>e"
    assert visible("Grüße, 你好 🙂") == "Grüße, 你好 🙂"


def test_a_histogram_counts_every_length_once() -> None:
    for lengths in ([5], [1, 2, 3], list(range(100)), [1, 1000]):
        bins = histogram(np.array(lengths))
        assert sum(count for _, _, count in bins) == len(lengths)
        assert bins[0][0] == min(lengths)
        assert bins[-1][1] == max(lengths)


def test_rows_without_anything_to_learn_are_refused(
    tiny_model: Path, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "home"))
    token_table.recent_tables.clear()
    config = make_config(tiny_model, talks, "lora")

    def nothing(*args: Any) -> list[Any]:
        return []

    stage = type("Silent", (type(config.stage),), {"encode": nothing})()
    with pytest.raises(DataError, match="no row has an answer to learn"):
        preview_data(config.model_copy(update={"stage": stage}))


def test_an_example_that_fits_stays_whole() -> None:
    row = [("question", False), ("answer", True)]
    whole = [
        {"text": "question", "loss": False, "left_out": 0},
        {"text": "answer", "loss": True, "left_out": 0},
    ]
    assert _example_json(row) == whole


def test_every_piece_of_a_long_example_is_shown_and_says_what_was_cut() -> None:
    row = [("long " * 5000, False), ("answer", True), ("longer " * 9000, False)]
    found = _example_json(row)
    assert sum(len(piece["text"]) for piece in found) == MAX_CHARACTERS
    assert found[1] == {"text": "answer", "loss": True, "left_out": 0}
    for piece, (text, learned) in zip(found, row, strict=True):
        assert text.startswith(piece["text"])
        assert (len(piece["text"]) + piece["left_out"], piece["loss"]) == (len(text), learned)


def test_space_is_allotted_evenly_and_never_more_than_a_piece_needs() -> None:
    assert allot([], 10) == []
    assert allot([3, 4], 10) == [3, 4]
    assert allot([7, 1, 9], 10) == [4, 1, 5]
    assert allot([5] * 3, 2) == [0, 1, 1]


def test_rows_are_converted_once_and_shared(
    tmp_path: Path, talks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.config.data import DataConfig
    from trainables.data import conversion

    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    config = DataConfig(train=str(talks), eval_fraction=0.3)
    first = loading.load(config)
    loading.recent_data.clear()

    def never(*args: Any) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(conversion, "convert_sources", never)
    assert list(loading.load(config).train) == list(first.train)
    assert len(list((tmp_path / "cache" / "data").glob("*/rows.arrow"))) == 1


def test_rows_that_the_cutoff_leaves_nothing_to_learn_are_counted_and_shown(
    tiny_model: Path, talks: Path
) -> None:
    """Answers that come only after the cutoff."""
    from trainables.stages import SFT

    class Late(SFT):
        def encode(self, tokenizer: Any, row: Any, cutoff: int) -> list[Any]:
            return [] if row.prompt[0]["content"].endswith("7") else super().encode(tokenizer, row, cutoff)

    config = make_config(tiny_model, talks, "lora", cutoff=61)
    found = preview_data(config.model_copy(update={"stage": Late()}))
    left_out = sum(row.prompt[0]["content"].endswith("7") for row in found.data.train)
    assert left_out > 0
    lines = "\n".join(preview_lines(config, found))
    assert (
        f"in {left_out} of 39 rows nothing but an end token is left to learn, and they are left out" in lines
    )
