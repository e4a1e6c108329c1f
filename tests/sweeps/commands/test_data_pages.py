"""``paretune data --json --rows-from``: pages of rows as models see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from sweeps import cli
from tests.helpers.own_rows import questions, write_lines

SPEC = """\
name: tiny
model: {{path: {model}}}
data: {{train: pairs.jsonl, cutoff: 40, eval_fraction: 0.2}}
stages: [{{kind: {stage}}}]
methods: [{{kind: full}}]
train: {{steps: 2, batch_size: 2, learning_rate: 1e-4}}
search: {{trials: 1}}
"""


def page(*arguments: str | Path, stdin: str | None = None) -> dict[str, Any]:
    found = CliRunner().invoke(cli.app, ["data", *map(str, arguments), "--json"], input=stdin)
    assert found.exit_code == 0, found.stderr
    (tree,) = json.loads(found.stdout)
    return tree  # type: ignore[no-any-return]


def test_a_page_without_a_model_holds_the_texts_of_its_rows(workdir: Path) -> None:
    file = write_lines(workdir / "my.jsonl", questions())
    found = page(file, "--rows-from", "2", "--rows", "3")
    assert [row["number"] for row in found["rows"]] == [2, 3, 4]
    assert found["sizes"][found["part"]] == found["total_rows"] == found["sizes"]["training"]
    row = found["rows"][0]
    assert row["messages"][0]["role"] == "user"
    assert row["answers"][0]["characters"] == len(row["answers"][0]["text"])
    assert "examples" not in row


def test_a_page_behind_the_last_row_is_empty(workdir: Path) -> None:
    file = write_lines(workdir / "my.jsonl", questions())
    assert page(file, "--rows-from", "4000")["rows"] == []


def test_rows_that_are_too_few_to_be_split_are_shown_with_the_reason(workdir: Path) -> None:
    file = write_lines(workdir / "two.jsonl", questions()[:2])
    found = page(file, "--rows-from", "0")
    assert (found["total_rows"], len(found["rows"])) == (2, 2)
    assert found["problems"]


def test_a_page_has_each_answer_of_a_pair_in_pieces_that_are_its_tokens(
    workdir: Path, tiny_model: Path
) -> None:
    pairs = [
        {"prompt": f"say {number} {'please ' * 60 * (number % 2)}", "chosen": "yes", "rejected": "no"}
        for number in range(40)
    ]
    write_lines(workdir / "pairs.jsonl", pairs)
    spec = SPEC.format(model=tiny_model, stage="dpo")
    # From standard input, as an editor's unsaved text.
    found = page("-", "--base", workdir / "spec.yaml", "--rows-from", "0", "--rows", "40", stdin=spec)
    assert (found["stage"], found["cutoff_tokens"]) == ("dpo", 40)
    short = [row for row in found["rows"] if not row["where"].endswith(("2", "4", "6", "8", "0"))]
    chosen, rejected = short[0]["examples"]
    assert (chosen["side"], rejected["side"]) == ("chosen", "rejected")
    prompt, answer = chosen["pieces"]
    assert (prompt["loss"], answer["loss"]) == (False, True)
    assert "say" in prompt["text"]
    assert answer["text"].startswith("yes")
    assert prompt["tokens"] == chosen["prompt_tokens"]
    assert answer["tokens"] == chosen["loss_tokens"]
    assert prompt["tokens"] + answer["tokens"] == chosen["tokens"]
    long = [row for row in found["rows"] if row not in short]
    assert all(row["warnings"] for row in long)
    assert all(example["tokens"] <= 40 for row in long for example in row["examples"])
    assert not any(row["warnings"] for row in short)


def test_pages_are_json_of_a_known_part(workdir: Path) -> None:
    file = str(write_lines(workdir / "my.jsonl", questions()))
    for arguments, message in (
        (["--rows-from", "0"], "add --json"),
        (["--rows-from", "0", "--json", "--part", "tests"], "Did you mean test?"),
    ):
        found = CliRunner().invoke(cli.app, ["data", file, *arguments])
        assert found.exit_code == 2
        assert message in found.stderr
