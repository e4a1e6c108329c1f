"""What a run keeps of its spec's claims."""

from __future__ import annotations

from datetime import UTC, datetime

from sweeps.execution.stated_claims import stated_claims
from sweeps.spec.claims import Better, Within

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = datetime(2026, 1, 3, tzinfo=UTC)
BETTER = Better(a="lora", b="full")
WITHIN = Within(a="lora", b="full", margin=0.02)


def test_a_run_without_claims_keeps_nothing_of_them() -> None:
    assert stated_claims((), None) == {}
    assert stated_claims((), {"name": "a run of before"}) == {}


def test_a_new_run_keeps_its_claims_with_the_time() -> None:
    (claim,) = stated_claims((BETTER,), None, NOW)["claims"]
    time = {"stated_at": "2026-01-02T00:00:00+00:00", "added": False}
    assert claim == {"kind": "better", "a": "lora", "b": "full", **time}


def test_what_is_claimed_when_a_run_is_resumed_is_marked_as_added() -> None:
    begun = stated_claims((BETTER,), None, NOW)
    before, added = stated_claims((BETTER, WITHIN), begun, LATER)["claims"]
    assert before == begun["claims"][0]
    assert added["kind"] == "within"
    assert added["added"] is True
    assert added["stated_at"].startswith("2026-01-03")


def test_a_claim_that_the_spec_has_no_longer_was_stated_all_the_same() -> None:
    begun = stated_claims((BETTER,), None, NOW)
    assert stated_claims((), begun, LATER) == begun


def test_a_claim_with_another_margin_is_another_claim() -> None:
    begun = stated_claims((WITHIN,), None, NOW)
    wider = Within(a="lora", b="full", margin=0.1)
    kept, added = stated_claims((wider,), begun, LATER)["claims"]
    assert (kept["margin"], kept["added"]) == (0.02, False)
    assert (added["margin"], added["added"]) == (0.1, True)


def test_damaged_claims_of_a_run_stay_as_they_are_beside_new_ones() -> None:
    for damaged in (["within", 3, None], "within"):
        kept = damaged if isinstance(damaged, list) else [damaged]
        stated = stated_claims([Better(a="lora", b="full")], {"claims": damaged})["claims"]
        assert stated[: len(kept)] == kept
        assert [each["kind"] for each in stated[len(kept) :]] == ["better"]
