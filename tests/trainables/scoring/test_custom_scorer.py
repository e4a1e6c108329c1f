"""Custom scores: functions of the user's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainables.scoring.custom_scorer import Scorer, ScorerError


@pytest.fixture
def scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with scorers in the working directory; its name."""
    monkeypatch.chdir(tmp_path)
    name = f"scores_{tmp_path.name.replace('-', '_')}"
    Path(f"{name}.py").write_text(
        "def length(messages, reference, answer):\n    return len(answer) / len(reference)\n"
        "def nothing(messages, reference, answer):\n    return None\n"
        "def endless(messages, reference, answer):\n    return float('inf')\n"
    )
    return name


def test_a_scorer_is_found_in_the_working_directory(scores: str) -> None:
    scorer = Scorer.parse(f"{scores}:length")
    assert scorer.score_rows([0, 1], [[], []], ["four", "12"], ["ab", "abc"]) == [0.5, 1.5]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("length", "row 7: ZeroDivisionError"),
        ("nothing", "row 7: TypeError"),
        ("endless", "row 7: returned inf; a score must be finite"),
    ],
)
def test_a_failing_scorer_is_an_error_that_names_the_row(scores: str, function: str, message: str) -> None:
    with pytest.raises(ScorerError, match=message):
        Scorer.parse(f"{scores}:{function}").score_rows([7], [[]], [""], ["ab"])


def test_a_missing_scorer_is_an_error(scores: str) -> None:
    for path, message in (
        ("length", "give module:function"),
        (f"{scores}:lenght", f"{scores} has no function lenght"),
        ("no_such_module:f", "no_such_module can't be imported"),
    ):
        with pytest.raises(ScorerError, match=message):
            Scorer.parse(path)
