"""The claims of a spec: which are read, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps.spec import source
from sweeps.spec.claims.reading import KINDS, read_claims
from sweeps.spec.spec import from_text

CLAIMS = """\
claims:
  - {kind: within, a: lora, b: full, margin: 0.02, both: true}
  - {kind: better, a: lora, b: freeze}
  - {kind: least_memory, a: lora, b: full, share: 0.5, margin: 0.02}
  - {kind: best_setting, a: lora, b: full, at_least: 5, at_most: 20}
  - {kind: flat, of: [lora], setting: method.rank, margin: 0.02}
  - {kind: forgets_less, a: lora, b: full}
  - {kind: memory_ratio, a: lora, b: full, of: saved, at_most: 1.2}
"""


def read(text: str) -> tuple[list[str], list[str]]:
    claims, problems = read_claims(source.parse(Path("spec.yaml"), text))
    return [str(claim.to_record()["kind"]) for claim in claims.values()], [str(each) for each in problems]


def test_every_kind_of_claim_is_read() -> None:
    assert read(CLAIMS) == (list(KINDS), [])


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("{kind: withn, a: lora, b: full, margin: 0.02}", "claims[0].kind: got withn. Did you mean within?"),
        ("{kind: within, a: lora, b: full}", "claims[0].margin: not given"),
        ("{kind: within, a: lora, b: full, margin: 2%}", 'claims[0].margin: got the text "2%". Write 0.02'),
        ("{kind: better, a: lora, b: full, margin: 0.1}", "claims[0].margin: unknown key"),
        (
            "{kind: best_setting, a: lora, b: full}",
            "give at_least, at_most, or both: at_least: 5, at_most: 20",
        ),
        ("{kind: best_setting, a: lora, b: full, at_least: 9, at_most: 3}", "at_least is the smaller one"),
        ("{kind: memory_ratio, a: lora, b: full}", "give at_least, at_most, or both: at_most: 1.05"),
        ("{kind: better, a: lora, b: full, source: ''}", "claims[0].source"),
        ("{kind: flat, of: [lora], margin: 0.1}", "one cell needs a setting"),
        ("{kind: flat, of: [lora, lora], margin: 0.1}", "a cell is named twice"),
        ("{a: lora, b: full}", "kind is not given"),
        ("{kind: [within], a: lora, b: full}", "claims[0].kind: got [within]; allowed: one of within"),
        ("{kind: {a: 1}}", "claims[0].kind: got"),
        ("{kind: within, a: full, b: Full, margin: 0.02}", "a and b are both full"),
        ("{kind: flat, of: [lora rank8, lora-rank8], margin: 0.1}", "a cell is named twice"),
        ("lora", "got lora. Write claims: [{kind: within"),
    ],
)
def test_a_claim_that_is_wrong_is_refused_at_its_line(claim: str, said: str) -> None:
    claims, problems = read(f"claims:\n  - {claim}\n")
    assert claims == []
    assert problems[0].startswith("spec.yaml:2 claims[0]")
    assert said in problems[0]


def test_a_claim_may_name_who_published_it() -> None:
    claims, _ = read_claims(
        source.parse(Path("spec.yaml"), "claims: [{kind: better, a: lora, b: full, source: 'Hu, 2021'}]")
    )
    assert claims[0].to_record()["source"] == "Hu, 2021"
    assert "source" not in claims[0].statement


def test_two_claims_that_differ_in_their_source_alone_are_one() -> None:
    better = "{kind: better, a: lora, b: full"
    claims, problems = read(f"claims: [{better}}}, {better}, source: 'Hu, 2021'}}]")
    assert claims == ["better"]
    assert "the same as claims[0]" in problems[0]


def test_a_claim_is_stated_once() -> None:
    twice = "{kind: better, a: lora, b: full}"
    claims, problems = read(f"claims: [{twice}, {twice}]\n")
    assert claims == ["better"]
    assert "the same as claims[0]" in problems[0]


def test_a_claim_after_a_wrong_one_keeps_its_place() -> None:
    spec = from_text(CLAIMS.replace("within", "withn"), Path("spec.yaml"))
    assert [spec.claim_index(claim) for claim in spec.claims] == [1, 2, 3, 4, 5, 6]


def test_a_spec_without_claims_resolves_as_it_did_before_there_were_any() -> None:
    assert "claims" not in from_text("name: a\n", Path("spec.yaml")).resolved()
