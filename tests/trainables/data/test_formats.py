"""The formats that rows are written in, the registry of data sets, and the rows that stages get from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from trainables.config.data import DataConfig
from trainables.data import formats, loading
from trainables.data.dataset_info import FILE
from trainables.data.errors import DataError
from trainables.data.parsed_row import InvalidRow, SkippedRow
from trainables.data.row_builder import build_row
from trainables.data.rows import Conversation, Labelled, Preference, Prompt, Text, row_from_json, row_to_json

USER = {"role": "user", "content": "2 + 2?"}
HAMMER = {"name": "hammer", "description": "Hits.", "parameters": {"type": "object", "properties": {}}}


def read(row: dict[str, Any], need: type, **layout: Any) -> Any:
    """One row, by the format its columns tell."""
    result = formats.detect_layout(list(row), **layout)
    return build_row(formats.FORMATS[result.format].convert(row, result, remarks := []), need, remarks)


# One thing said in many ways


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "2 + 2?", "input": "", "output": "4"},
        {"instruction": "2 + 2?", "output": "4", "history": []},
        {"prompt": "2 + 2?", "completion": "4"},
        {"prompt": [USER], "completion": [{"role": "assistant", "content": "4"}]},
        {"query": "2 + 2?", "response": "4"},
        {"question": "2 + 2?", "answer": "4"},
        {"messages": [USER, {"role": "assistant", "content": "4"}]},
        {"messages": json.dumps([USER, {"role": "assistant", "content": "4"}])},
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]},
                {"role": "assistant", "content": "4"},
            ]
        },
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        {"conversations": [{"from": "user", "value": "2 + 2?"}, {"from": "assistant", "value": "4"}]},
    ],
)
def test_a_request_and_its_answer_are_the_same_however_they_are_written(row: dict[str, Any]) -> None:
    assert read(row, Conversation) == Conversation((USER,), "4")
    assert read(row, Prompt) == Prompt((USER,), "4")


@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"instruction": "2 + 2?", "input": "", "output": ["4", "5"]},
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        {
            "prompt": [USER],
            "chosen": [{"role": "assistant", "content": "4"}],
            "rejected": [{"role": "assistant", "content": "5"}],
        },
        {"query": "2 + 2?", "response": "4", "rejected_response": "5"},
        {"messages": [USER, {"role": "assistant", "content": "4"}], "rejected_response": "5"},
        {
            "conversations": [{"from": "human", "value": "2 + 2?"}],
            "chosen": {"from": "gpt", "value": "4"},
            "rejected": {"from": "gpt", "value": "5"},
        },
    ],
)
def test_a_preference_is_the_same_however_it_is_written(row: dict[str, Any]) -> None:
    assert read(row, Preference) == Preference((USER,), "4", "5")
    with pytest.raises(InvalidRow, match="learns from a single one"):
        read(row, Conversation)


@pytest.mark.parametrize("label", [True, 1, "true", "True", "1"])
def test_a_label_is_the_same_however_it_is_written(label: Any) -> None:
    for row in (
        {"instruction": "2 + 2?", "output": "4", "kto_tag": label},
        {"prompt": "2 + 2?", "completion": "4", "label": label},
        {"messages": [USER, {"role": "assistant", "content": "4"}], "label": label},
    ):
        assert read(row, Labelled) == Labelled((USER,), "4", True)


def test_history_and_system_come_before_the_request() -> None:
    row = {"instruction": "And 3 + 3?", "output": "6", "system": "Add.", "history": [["2 + 2?", "4"]]}
    result = read(row, Conversation)
    assert [message["role"] for message in result.prompt] == ["system", "user", "assistant", "user"]
    assert result.prompt[-1]["content"] == "And 3 + 3?"


def test_tools_calls_and_their_results_keep_their_roles() -> None:
    call = {"name": "hammer", "arguments": {"force": 3}}
    turns = [
        {"from": "human", "value": "Hit it."},
        {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "bang"},
        {"from": "gpt", "value": "Done."},
    ]
    result = read({"conversations": turns, "tools": json.dumps([HAMMER]), "system": "Build."}, Conversation)
    assert [message["role"] for message in result.prompt] == ["system", "user", "assistant", "tool"]
    assert result.prompt[2]["tool_calls"] == [{"type": "function", "function": call}]
    assert json.loads(result.tools) == [{"type": "function", "function": HAMMER}]
    ends_in_a_call = read({"conversations": turns[:2]}, Conversation)
    assert (ends_in_a_call.answer, ends_in_a_call.calls[0]["function"]) == ("", call)


def test_openai_calls_with_arguments_as_json_are_read() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "hammer", "arguments": '{"force": 3}'}}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "bang"},
    ]
    result = read({"messages": [*messages, {"role": "assistant", "content": "4"}]}, Conversation)
    assert result.prompt[1]["tool_calls"][0]["function"]["arguments"] == {"force": 3}


def test_running_text_is_only_for_pre_training() -> None:
    assert read({"text": "Once."}, Text) == Text("Once.")
    with pytest.raises(InvalidRow, match="running text"):
        read({"text": "Once."}, Conversation)
    with pytest.raises(InvalidRow, match="pre-training takes running text"):
        read({"prompt": "a", "completion": "b"}, Text)
    with pytest.raises(SkippedRow, match="its text is empty"):
        read({"text": "  "}, Text)


def test_given_columns_tags_and_formats_take_precedence() -> None:
    row = {"a": "2 + 2?", "b": "4", "text": "decoy"}
    assert read(row, Conversation, given={"prompt": "a", "response": "b"}) == Conversation((USER,), "4")
    tagged = {"talk": [{"who": "me", "says": "2 + 2?"}, {"who": "it", "says": "4"}]}
    tags = {"role_tag": "who", "content_tag": "says", "user_tag": "me", "assistant_tag": "it"}
    result = read(tagged, Conversation, name="sharegpt", given={"messages": "talk"}, tags=tags)
    assert result == Conversation((USER,), "4")
    with pytest.raises(InvalidRow, match="has no column c, which prompt should be in; it has a, b, text"):
        read(row, Conversation, given={"prompt": "c"})
    with pytest.raises(InvalidRow, match="found the columns a, b, text; alpaca expects instruction"):
        read(row, Conversation, name="alpaca")


MESSAGES = some.lists(
    some.fixed_dictionaries(
        {
            "role": some.sampled_from(["system", "user", "assistant", "tool", "wizard"]),
            "content": some.text(max_size=9),
        }
    ),
    max_size=6,
)
VALUES = some.one_of(some.none(), some.booleans(), some.integers(), some.text(max_size=9), MESSAGES)
COLUMNS = some.sampled_from(
    ["instruction", "input", "output", "prompt", "completion", "chosen", "rejected", "label", "messages",
     "conversations", "system", "tools", "history", "text", "other"]
)  # fmt: skip


@given(
    row=some.dictionaries(COLUMNS, VALUES, max_size=6),
    need=some.sampled_from([Text, Conversation, Preference, Labelled, Prompt]),
)
def test_any_row_is_read_completely_or_refused(row: dict[str, Any], need: type) -> None:
    try:
        result = read(row, need)
    except (InvalidRow, SkippedRow):
        return
    assert isinstance(result, need)
    assert row_from_json(row_to_json(result), need) == result
    if isinstance(result, Conversation):
        assert result.answer.strip() or result.calls
        assert result.prompt[-1]["role"] in ("user", "tool")


# The registry


def registered(folder: Path, **entry: Any) -> DataConfig:
    (folder / FILE).write_text(json.dumps({"mine": entry}))
    return DataConfig(train="mine", folder=folder, eval_fraction=0.5)


def write(folder: Path, rows: list[dict[str, Any]], name: str = "rows.json") -> None:
    (folder / name).write_text(json.dumps(rows))


def alpaca(count: int = 40) -> list[dict[str, Any]]:
    return [{"instruction": f"question {n}", "input": "", "output": f"answer {n}"} for n in range(count)]


def test_a_name_resolves_through_dataset_info(tmp_path: Path) -> None:
    write(tmp_path, [{"q": f"question {n}", "a": f"answer {n}", "system": "Be brief."} for n in range(40)])
    config = registered(tmp_path, file_name="rows.json", columns={"prompt": "q", "response": "a"})
    result = loading.load(config)
    assert result.name == "mine"
    assert result.train[0].prompt[0] == {"role": "system", "content": "Be brief."}
    assert result.notes == (
        "rows.json: alpaca format (detected from its columns: q as prompt, a as response, system; "
        "not listed, but read because of their usual names: system)",
    )


def test_llama_factorys_ranking_and_kto_entries_work(tmp_path: Path) -> None:
    row = {
        "conversations": [{"from": "human", "value": "?"}],
        "chosen": {"from": "gpt", "value": "yes"},
        "rejected": {"from": "gpt", "value": "no"},
    }
    write(tmp_path, [{**row, "conversations": [{"from": "human", "value": str(n)}]} for n in range(40)])
    columns = {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    config = registered(tmp_path, file_name="rows.json", formatting="sharegpt", ranking=True, columns=columns)
    assert loading.load(config, Preference).train[0].chosen == "yes"
    messages = [
        [{"role": "user", "content": str(n)}, {"role": "assistant", "content": "!"}] for n in range(40)
    ]
    write(tmp_path, [{"messages": each, "label": n % 2 == 0} for n, each in enumerate(messages)], "kto.json")
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "kto_tag": "label"}
    config = registered(tmp_path, file_name="kto.json", formatting="sharegpt", columns=columns, tags=tags)
    assert {row.label for row in loading.load(config, Labelled).train} == {True, False}


def test_the_prompt_column_of_a_text_entry_is_its_text(tmp_path: Path) -> None:
    write(tmp_path, [{"text": f"Once {n}"} for n in range(40)])
    config = registered(tmp_path, file_name="rows.json", columns={"prompt": "text"})
    assert loading.load(config, Text).train[0].text.startswith("Once")


def test_an_edit_of_the_registry_or_of_the_file_counts_at_once(tmp_path: Path) -> None:
    write(tmp_path, alpaca())
    first = loading.load(registered(tmp_path, file_name="rows.json"))
    fewer = loading.load(registered(tmp_path, file_name="rows.json", num_samples=30))
    write(tmp_path, alpaca(41))
    longer = loading.load(registered(tmp_path, file_name="rows.json"))
    counts = [sum(map(len, (each.train, each.validation, each.test))) for each in (first, fewer, longer)]
    assert counts == [40, 30, 41]
    assert len({each.sha256 for each in (first, fewer, longer)}) == 3


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"file_name": "gone.json"}, "no such file"),
        ({}, "does not say where the rows are"),
        (
            {"file_name": "rows.json", "formating": "alpaca"},
            "unknown key formating. Did you mean formatting",
        ),
        (
            {"file_name": "rows.json", "formatting": "alpacca"},
            "formatting 'alpacca' is unknown; known: alpaca",
        ),
        ({"script_url": "evil.py"}, "would run code from the internet"),
        (
            {"file_name": "rows.json", "columns": {"promt": "q"}},
            r"columns\.promt: unknown part promt; .* Did you mean prompt",
        ),
        ({"file_name": "rows.json", "columns": {"images": "q"}}, "only texts can be trained on"),
        ({"file_name": "rows.json", "num_samples": 0}, "num_samples must be a whole number of at least 1"),
        (
            {"file_name": "rows.json", "columns": {"prompt": "q"}},
            "has no column q, which prompt should be in",
        ),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: dict[str, Any], what: str) -> None:
    write(tmp_path, alpaca())
    with pytest.raises(DataError, match=what):
        loading.load(registered(tmp_path, **entry))


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path, alpaca())
    config = registered(tmp_path, file_name="rows.json").model_copy(update={"train": "mime"})
    with pytest.raises(
        DataError, match=r"no data set mime .*known names: commands, .*mine; .*Did you mean mine\?"
    ):
        loading.load(config)


# Several data sets, limits, held-out files


def test_the_columns_of_each_file_are_detected_separately(tmp_path: Path) -> None:
    write(tmp_path, alpaca(20), "a.json")
    write(
        tmp_path,
        [
            {"messages": [{"role": "user", "content": f"m {n}"}, {"role": "assistant", "content": "!"}]}
            for n in range(20)
        ],
        "b.json",
    )
    config = DataConfig(train=(str(tmp_path / "a.json"), str(tmp_path / "b.json")), eval_fraction=0.5)
    result = loading.load(config)
    assert result.name == "a.json+b.json"
    assert sum(map(len, (result.train, result.validation, result.test))) == 40
    assert [note.split(" (")[0] for note in result.notes] == [
        "a.json: alpaca format",
        "b.json: messages format",
    ]


def test_max_samples_limits_the_rows_of_each_data_set(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write(tmp_path, [{**row, "input": name} for row in alpaca()], name)
    names = tuple(str(tmp_path / name) for name in ("a.json", "b.json"))
    result = loading.load(DataConfig(train=names, max_samples=15, eval_fraction=0.5))
    assert sum(map(len, (result.train, result.validation, result.test))) == 30


def test_a_held_out_file_is_never_trained_on(tmp_path: Path) -> None:
    write(tmp_path, alpaca(40), "train.json")
    write(tmp_path, alpaca(60)[30:], "eval.json")
    config = DataConfig(train=str(tmp_path / "train.json"), eval=str(tmp_path / "eval.json"))
    result = loading.load(config)
    held = {row.key() for row in (*result.validation, *result.test)}
    assert len(held) == 30
    assert not held & {row.key() for row in result.train}
    assert (len(result.train), result.overlap) == (30, 10)


def test_eval_count_is_the_number_of_held_out_prompts(tmp_path: Path) -> None:
    write(tmp_path, alpaca(100))
    result = loading.load(DataConfig(train=str(tmp_path / "rows.json"), eval_count=20))
    assert (len(result.train), len(result.validation) + len(result.test)) == (80, 20)


@pytest.mark.parametrize(("mix", "most"), [("interleave_under", 0), ("interleave_over", 1)])
def test_data_sets_are_interleaved_with_their_weights(tmp_path: Path, mix: str, most: int) -> None:
    for name, count in (("a.json", 400), ("b.json", 400)):
        write(tmp_path, [{**row, "input": name} for row in alpaca(count)], name)
    names = tuple(str(tmp_path / name) for name in ("a.json", "b.json"))
    result = loading.load(DataConfig(train=names, mix=mix, weights=(3, 1)))  # type: ignore[arg-type]
    kinds = [row.prompt[-1]["content"].rpartition("\n")[2] for row in result.train]
    assert kinds[:200].count("a.json") == pytest.approx(150, abs=25)
    uses = {
        name: kinds.count(name) / len({row.key() for row in result.train if name in str(row)})
        for name in ("a.json", "b.json")
    }
    # One set's end ends the shorter way; in the longer one it starts again.
    assert uses["a.json"] > 2 if most else uses["a.json"] == uses["b.json"] == 1


def test_variables_fill_placeholders_and_others_stay_and_are_reported(tmp_path: Path) -> None:
    write(
        tmp_path,
        [{"instruction": f"Who {n}?", "output": "I am {{name}} of {{ author }}."} for n in range(40)],
    )
    config = DataConfig(train=str(tmp_path / "rows.json"), eval_fraction=0.5, variables={"name": "Ada"})
    result = loading.load(config)
    assert result.train[0].answer == "I am Ada of {{ author }}."
    assert result.warnings == ("rows.json: {{author}} stay as they are; set data.variables to fill them in",)


@pytest.mark.parametrize(
    ("how", "answer"),
    [("keep", "<think>\nhm\n</think>\n\n4"), ("strip", "4"), ("empty", "<think>\n\n</think>\n\n4")],
)
def test_thoughts_are_kept_stripped_or_emptied(tmp_path: Path, how: Any, answer: str) -> None:
    write(tmp_path, [{"prompt": f"{n}?", "completion": "<think>\nhm\n</think>\n\n4"} for n in range(40)])
    result = loading.load(DataConfig(train=str(tmp_path / "rows.json"), eval_fraction=0.5, thinking=how))
    assert {row.answer for row in result.train} == {answer}


def test_data_that_changed_since_planning_is_refused(tmp_path: Path) -> None:
    write(tmp_path, alpaca())
    config = DataConfig(train=str(tmp_path / "rows.json"), eval_fraction=0.5)
    planned = config.model_copy(update={"sha256": loading.load(config).sha256})
    assert loading.load(planned).train
    write(tmp_path, alpaca(41))
    with pytest.raises(DataError, match="has changed since this was planned"):
        loading.load(planned)


def test_rows_that_cannot_be_read_leave_no_half_written_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "cache"))
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 40 + "{broken")
    with pytest.raises(DataError, match=r"rows\.jsonl:41"):
        loading.load(DataConfig(train=str(tmp_path / "rows.jsonl")))
    left = [
        path for path in (tmp_path / "cache" / "data").rglob("*") if path.is_file() and path.suffix != ".lock"
    ]
    assert left == []


# A hub, from its own cache


def test_a_hub_repositorys_files_are_chosen_by_its_card_else_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainables.data.hub_datasets import HubDataset

    for name in ("en/train-0.json", "en/test-0.json", "de/train-0.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path, alpaca(), name)
    monkeypatch.setattr(HubDataset, "_snapshot", lambda self, offline: tmp_path)

    def chosen(name: str) -> list[str]:
        return [str(path.relative_to(tmp_path)) for path in HubDataset.parse(name).files()]

    assert chosen("hf:org/name:en") == ["en/train-0.json"]
    assert chosen("hf:org/name:en#test") == ["en/test-0.json"]
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: german\n  data_files:\n  - split: train\n    path: de/*\n---\n# Card\n"
    )
    assert chosen("hf:org/name:german") == chosen("hf:org/name") == ["de/train-0.json"]
    with pytest.raises(
        DataError, match=r"no files for subset german, split test; its data files: de/train-0\.json"
    ):
        chosen("hf:org/name:german#test")
    with pytest.raises(DataError, match="expected hf:ORG/NAME"):
        chosen("hf:name")


def test_the_error_for_an_unreachable_hub_says_what_was_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainables.data.hub_datasets import HubDataset

    def refuse(self: HubDataset, offline: bool) -> Path:
        raise OSError("no route to host")

    monkeypatch.setattr(HubDataset, "_snapshot", refuse)
    with pytest.raises(
        DataError, match="hf:org/name could not be downloaded: no route to host; check the id"
    ):
        loading.load(DataConfig(train="hf:org/name"))
