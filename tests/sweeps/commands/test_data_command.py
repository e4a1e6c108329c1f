"""``paretune data`` with and without a spec."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from click.testing import Result
from typer.testing import CliRunner

from sweeps import cli
from tests.helpers import specs
from tests.helpers.own_rows import questions, write_lines


def paretune(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["data", *map(str, arguments)])


def described(*arguments: str | Path) -> dict[str, Any]:
    found = paretune(*arguments, "--json")
    assert found.exit_code == 0, found.stderr
    (tree,) = json.loads(found.stdout)
    return tree  # type: ignore[no-any-return]


def test_a_file_is_described_without_a_spec_or_a_model(workdir: Path) -> None:
    found = described(write_lines(workdir / "my.jsonl", questions()))
    assert (found["kind"], found["stage"], found["count"]) == ("conversation", "sft", 40)
    assert sum(found["rows"].values()) == 40
    assert found["characters"] == {
        "prompt": {"least": 6, "median": 6, "most": 6},
        "answer": {"least": 2, "median": 2, "most": 2},
    }
    assert found["notes"][0] == (
        "my.jsonl: completion format (detected from its columns: prompt, completion as response)"
    )
    assert found["examples"][0] == [
        {"part": "user", "text": "say 00", "learned": False},
        {"part": "answer", "text": "ab", "learned": True},
    ]


def test_the_stage_follows_from_the_kind_of_the_rows(workdir: Path) -> None:
    rows = [{"prompt": f"say {number}", "chosen": "yes", "rejected": "no"} for number in range(40)]
    pairs = described(write_lines(workdir / "pairs.jsonl", rows))
    assert (pairs["stage"], list(pairs["characters"])) == ("dpo", ["prompt", "chosen", "rejected"])
    rows = [{"prompt": f"say {n}", "completion": "yes", "label": n % 4 > 0} for n in range(40)]
    labels = described(write_lines(workdir / "labels.jsonl", rows))
    assert (labels["stage"], labels["facts"]) == ("kto", ["30 answers are labelled good, 10 bad"])
    texts = described(write_lines(workdir / "texts.jsonl", [{"text": f"once {n}"} for n in range(40)]))
    assert (texts["stage"], list(texts["characters"])) == ("pretrain", ["text"])


def test_a_stage_that_is_named_decides_how_rows_are_read(workdir: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": "yes", "label": n % 4 > 0} for n in range(40)]
    path = write_lines(workdir / "labels.jsonl", rows)
    assert described(path, "--stage", "sft")["count"] == 30  # answers that are labelled bad are not learned
    found = paretune(path, "--stage", "sfd")
    assert (found.exit_code, "Did you mean sft?" in found.stderr) == (2, True)


def test_a_folder_a_pattern_and_a_registered_name_are_data(workdir: Path) -> None:
    write_lines(workdir / "parts" / "a.jsonl", questions(20))
    write_lines(workdir / "parts" / "b.jsonl", questions(30)[20:])
    (workdir / "dataset_info.json").write_text(json.dumps({"mine": {"file_name": "parts/a.jsonl"}}))
    assert described("parts")["count"] == 30
    assert described("parts/b*.jsonl")["count"] == 10
    assert described("mine")["count"] == 20
    assert described("commands")["data"] == "commands"


def test_columns_without_usual_names_are_guessed_and_the_guess_is_said(workdir: Path) -> None:
    lines = [f"Was ist {number}?;Zahl {number}" for number in range(40)]
    (workdir / "excel.csv").write_bytes("﻿Thema;Inhalt\r\n".encode() + "\r\n".join(lines).encode())
    found = described("excel.csv")
    assert found["examples"][0][0] == {"part": "user", "text": "Was ist 0?", "learned": False}
    assert any(
        "so these were guessed: Thema as prompt, Inhalt as response" in note for note in found["notes"]
    )
    other = described("excel.csv", "--set", "data.columns={prompt: Inhalt, response: Thema}")
    assert other["examples"][0][0]["text"] == "Zahl 0"
    assert not any("guessed" in note for note in other["notes"])


def test_the_split_is_the_one_that_init_proposes(workdir: Path) -> None:
    path = write_lines(workdir / "my.jsonl", questions(60))
    found = described(path)
    assert "eval_fraction: 0.3" in found["notes"][-1]
    assert CliRunner().invoke(cli.app, ["init", "my.jsonl", "--model", "qwen3-0.6b"]).exit_code == 0
    text = (workdir / "my.yaml").read_text()
    assert "eval_fraction: 0.3" in text
    steer, give = found["rows"]["validation"], found["rows"]["test"]
    assert f"{steer} validation rows steer the search, {give} test rows give the result" in text
    assert described(path, "--set", "data.eval_fraction=0.1")["rows"]["training"] > found["rows"]["training"]


def test_a_column_that_numbers_the_rows_is_neither_prompt_nor_answer(workdir: Path) -> None:
    lines = [f"T-{number};Printer {number} is broken;IT" for number in range(40)]
    (workdir / "tickets.csv").write_text("\n".join(["Ticket no.;Ticket text;Queue", *lines]))
    found = described("tickets.csv")
    assert any("guessed: Ticket text as prompt, Queue as response" in note for note in found["notes"])


def test_rows_that_are_too_few_to_be_held_out_are_shown_all_the_same(workdir: Path) -> None:
    found = described(write_lines(workdir / "few.jsonl", questions(1)))
    assert (found["count"], found["rows"]) == (1, None)
    assert any("leaves none" in problem for problem in found["problems"])


def test_with_a_model_the_tokens_are_those_of_a_spec_with_that_data(workdir: Path, tiny_model: Path) -> None:
    path = write_lines(workdir / "my.jsonl", questions())
    (workdir / "my.yaml").write_text(
        specs.SPEC.replace("{path: model}", f"{{path: {tiny_model}}}")
        .replace("{train: rows.jsonl, eval_fraction: 0.4}", "{train: my.jsonl, eval_fraction: 0.3}")
        .replace("batch_size: 2", "batch_size: 8")
    )
    without, of_spec = described(path, "--model", tiny_model), described("my.yaml")
    assert without["tokens"]["examples"] > 0
    assert without == of_spec
    # The model and the template of a spec can be exchanged, too.
    alpaca = described("my.yaml", "--template", "alpaca")
    assert alpaca == described(path, "--model", tiny_model, "--template", "alpaca")
    assert alpaca["tokens"] != of_spec["tokens"]


def test_settings_of_the_data_can_be_given_and_others_need_a_spec(workdir: Path) -> None:
    path = write_lines(workdir / "my.jsonl", questions())
    assert described(path, "--set", "data.max_samples=30")["count"] == 30
    found = paretune(path, "--set", "train.steps=3")
    assert (found.exit_code, "give a SPEC for others" in found.stderr) == (2, True)
    found = paretune(path, "--set", "data.cutof=3")
    assert (found.exit_code, "--set data.cutof: unknown key" in found.stderr) == (2, True)


def test_what_is_no_data_says_what_there_is(workdir: Path) -> None:
    write_lines(workdir / "rows.jsonl", questions())
    assert "Did you mean rows.jsonl?" in paretune("rwos.jsonl").stderr
    (workdir / "sets").mkdir()
    (workdir / "sets" / "dataset_info.json").write_text(json.dumps({"mine": {}, "other": {}}))
    found = paretune("sets")
    assert "its dataset_info.json names 2 data sets: mine, other" in found.stderr
    found = paretune("rows.jsonl", "--model", "no-such-model")
    assert (found.exit_code, "There is no model named 'no-such-model'" in found.stderr) == (2, True)


def test_a_person_sees_lines_and_what_is_learned_is_marked(workdir: Path) -> None:
    found = paretune(write_lines(workdir / "my.jsonl", questions()))
    assert "my.jsonl: 40 rows of conversations with answers, for the stage sft" in found.stdout
    assert "user: say 00\nanswer: «ab»" in found.stdout
    assert (
        "characters per row (prompt + answer), and how many rows have as many:\n      8 to 8" in found.stdout
    )
    pairs = [{"prompt": f"say {number}", "chosen": "yes", "rejected": "no"} for number in range(40)]
    found = paretune(write_lines(workdir / "pairs.jsonl", pairs))
    assert "characters per row (prompt + chosen + rejected), and" in found.stdout


def test_test_rows_that_are_trained_on_are_said_of_a_file_of_a_spec_and_by_the_plan(
    workdir: Path, tiny_model: Path
) -> None:
    def turns(number: int) -> list[dict[str, str]]:
        # Four rows each end alike; no two open alike, which is what the split goes by.
        shared = " ".join(f"word{number // 4}x{place}" for place in range(13))
        return [
            {"role": "user", "content": f"opening {number}"},
            {"role": "assistant", "content": "go on"},
            {"role": "user", "content": f"Tell me of {shared}"},
            {"role": "assistant", "content": "ab"},
        ]

    path = write_lines(workdir / "my.jsonl", [{"messages": turns(number)} for number in range(60)])
    (workdir / "my.yaml").write_text(
        specs.SPEC.replace("{path: model}", f"{{path: {tiny_model}}}")
        .replace("{train: rows.jsonl, eval_fraction: 0.4}", "{train: my.jsonl, eval_fraction: 0.4}")
        .replace("batch_size: 2", "batch_size: 8")
    )
    planned = CliRunner().invoke(cli.app, ["plan", "my.yaml"])
    for said in (paretune(path), paretune("my.yaml"), planned):
        assert said.exit_code == 0, said.stderr
        assert re.search(
            r"\d+ of \d+ test rows end with a user turn that stands in a training row", said.output
        )
        assert re.search(
            r"\d+ of \d+ test rows share 13 words in a row with one of \d+ training rows", said.output
        )
