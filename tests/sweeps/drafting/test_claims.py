"""The claims that a proposed spec offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeps import cli
from sweeps.drafting.claims import claim_remarks
from sweeps.drafting.spec_text import Setting
from sweeps.planning import plan as planning
from sweeps.spec import source
from sweeps.spec.claims.reading import read_claims
from sweeps.spec.spec import read
from tests.helpers.own_rows import questions, write_lines


def offered(*methods: dict[str, object]) -> list[tuple[str, str, str]]:
    """The kind and the cells of each claim, once its lines are uncommented."""
    entries = [[Setting(key, value) for key, value in method.items()] for method in methods]
    lines = claim_remarks(entries)
    text = "\n".join(lines[lines.index("claims:") :]) if lines else "name: a\n"
    claims, problems = read_claims(source.parse(Path("spec.yaml"), text))
    assert problems == []
    return [tuple(map(str, (each.to_record()["kind"], *each.cells.values()))) for each in claims.values()]  # type: ignore[misc]


def test_a_small_method_is_claimed_to_be_as_good_as_full_training_for_less_memory() -> None:
    found = offered({"kind": "full"}, {"kind": "freeze"}, {"kind": "lora", "rank": 8})
    assert found == [("within", "lora", "full"), ("least_memory", "lora", "full")]


def test_without_full_training_the_quantized_method_is_compared_by_the_name_of_its_cell() -> None:
    found = offered({"kind": "lora"}, {"kind": "qlora", "bits": 4})
    assert found == [("within", "qlora-4bit", "lora"), ("least_memory", "qlora-4bit", "lora")]


def test_a_single_method_is_claimed_nothing_of() -> None:
    assert offered({"kind": "lora"}) == []


def test_the_claims_of_a_written_spec_are_uncommented_and_planned(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "my.jsonl", questions(60))
    made = CliRunner().invoke(cli.app, ["init", "my.jsonl", "--model", str(tiny_model)])
    assert made.exit_code == 0, made.output
    lines = (tmp_path / "my.yaml").read_text().splitlines()
    start = lines.index("# claims:")
    for place in range(start, start + 3):
        lines[place] = lines[place].removeprefix("# ")
    (tmp_path / "claimed.yaml").write_text("\n".join(lines) + "\n")
    plan = planning.make(read(tmp_path / "claimed.yaml"))
    assert [claim.to_record()["kind"] for claim in plan.spec.claims] == ["within", "least_memory"]
    assert [str(each) for each in plan.errors] == []
    said = [each.what for each in plan.warnings if each.path.startswith("claims")]
    assert said == []
