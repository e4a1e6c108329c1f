"""The matrix of families: its table, its time limit, and what it says of failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import family_checks
from tests.helpers.family_checks import CHECKS, Family, outcome
from tests.helpers.family_sizes import NOT_MADE
from tests.helpers.model_families import causal_families, family_config
from tests.helpers.tiny_model import make_tokenizer
from tests.trainables.models import family_matrix
from tests.trainables.models.family_matrix import (
    BEGIN,
    END,
    TookTooLong,
    read_table,
    table,
    time_limit,
    write_table,
)


def test_the_config_of_every_family_can_be_made_but_for_those_with_a_reason() -> None:
    tokenizer = make_tokenizer()
    failures = {}
    for kind in set(causal_families()) - set(NOT_MADE):
        try:
            assert family_config(kind, tokenizer).model_type
        except Exception as error:
            failures[kind] = repr(error)
    assert not failures
    assert set(NOT_MADE) < set(causal_families())


def test_the_table_has_a_legend_of_reasons_and_the_families_that_were_not_tried() -> None:
    rows = {
        "beta": {"full": "ok", "chat": "refused: beta is an encoder"},
        "alpha": {"full": "crash: KeyError: 3", "chat": "refused: alpha is an encoder"},
        "delta": {"full": "ok", "chat": "refused: delta is an encoder"},
        "gamma": dict.fromkeys(("full", "chat"), "not tried: it needs timm"),
    }
    assert table(rows).splitlines() == [
        "| families | full | chat |",
        "|---|---|---|",
        "| beta, delta | ok | no 2 |",
        "| alpha | **crash** 1 | no 2 |",
        "",
        "1. KeyError: N",
        "2. TYPE is an encoder",
        "",
        "Not tried: gamma: it needs timm.",
    ]


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    text = table(
        {
            "alpha": {"full": "ok", "chat": "refused: alpha is an encoder: 3"},
            "beta": {"full": "late: no", "chat": "unknown: no"},
            "delta": dict.fromkeys(("full", "chat"), "not tried: it needs timm"),
            "gamma": dict.fromkeys(("full", "chat"), "not tried: it can't be made"),
        }
    )
    document = tmp_path / "README.md"
    document.write_text(f"{BEGIN}\n{END}\n")
    write_table(document, text)
    rows = read_table(document)
    assert rows["alpha"] == {"full": "ok", "chat": "refused: TYPE is an encoder: N"}
    assert table(rows) == text


def test_the_readmes_table_can_be_read() -> None:
    rows = read_table(family_matrix.README)
    assert set(rows) >= set(causal_families())
    assert table(rows) in family_matrix.README.read_text()


def test_the_table_replaces_what_stands_between_its_markers(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_table(document, "new")
    assert document.read_text() == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_the_readme_has_the_markers() -> None:
    text = family_matrix.README.read_text()
    assert text.count(BEGIN) == text.count(END) == 1


def test_a_check_that_never_ends_is_ended() -> None:
    def never_end() -> None:
        with time_limit(0.05):
            while True:
                pass

    with pytest.raises(TookTooLong, match=r"more than 0\.05 s"):
        never_end()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (family_checks.Refused("no"), "refused: no"),
        (family_checks.RefusedLate("no"), "late: no"),
        (family_checks.Wrong("1 is not 2"), "wrong: 1 is not 2"),
        (KeyError("x"), "crash: KeyError: 'x'"),
    ],
)
def test_a_failure_is_an_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    def fail(_: Family) -> None:
        raise error

    monkeypatch.setitem(CHECKS, "full", fail)
    assert outcome(Family("llama", tmp_path), "full") == expected
