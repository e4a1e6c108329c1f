"""The claims that a proposed spec offers."""

from __future__ import annotations

from pathlib import Path

from sweeps.drafting.claims import claim_remarks
from sweeps.drafting.spec_text import Setting
from sweeps.spec import source
from sweeps.spec.claims.reading import read_claims


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
