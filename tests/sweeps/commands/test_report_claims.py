"""``paretune report --claims``: claims that are answered after the run."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from sweeps import cli
from tests.helpers.run_folders import record, write_run

CLAIM = "claims: [{kind: better, a: lora, b: full}]\n"


def test_claims_of_a_file_are_answered_and_marked_as_added(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record("a", "lora"), record("b", "full")])
    file = tmp_path / "claims.yaml"
    file.write_text(CLAIM)
    result = CliRunner().invoke(cli.app, ["report", str(run), "--claims", str(file), "--json"])
    assert result.exit_code == 0, result.output
    (claim,) = json.loads(result.stdout)["claims"]
    assert (claim["kind"], claim["outcome"], claim["added"]) == ("better", "not settled", True)
    assert claim["stated_at"] is not None


def test_a_file_without_claims_or_with_a_wrong_one_is_refused_by_its_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record("a", "lora")])
    file = tmp_path / "claims.yaml"
    for text, said in (("name: a\n", "this file claims nothing"), ("claims: [{kind: bettr}]\n", "got bettr")):
        file.write_text(text)
        result = CliRunner().invoke(cli.app, ["report", str(run), "--claims", str(file)])
        assert result.exit_code != 0
        assert f"{file}:1" in result.output
        assert said in result.output
