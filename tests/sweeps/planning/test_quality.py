"""By what the answers of one's own data are judged, and how a function of the user's is looked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.planning.conventions import FIRST
from tests.helpers.specs import SPEC, own_spec_folder, plan, problems


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return own_spec_folder(tmp_path, monkeypatch)


def quality(path: Path, *sets: str, **options: object) -> set[str | None]:
    planned = plan(path, SPEC, sets, **options)
    assert not planned.errors
    return {cell.first().data.quality for cell in planned.cells} | {
        base.data.quality for base in planned.bases
    }


def write_answers(path: Path, answers: list[str]) -> None:
    rows = [{"prompt": f"say {n}", "completion": answer} for n, answer in enumerate(answers)]
    (path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))


def test_short_answers_are_judged_by_exact_match_and_the_plan_says_why(workdir: Path) -> None:
    assert quality(workdir) == {"exact_match"}
    (note,) = [note for note in plan(workdir).notes if "so that quality is exact match" in note]
    assert note.startswith(
        "data rows.jsonl: 100% of the held-out answers have at most 40 characters on one line"
    )


@pytest.mark.parametrize("answer", ["x" * 41, "two\nlines"])
def test_longer_answers_are_judged_by_the_loss(workdir: Path, answer: str) -> None:
    write_answers(workdir, [answer if n % 3 == 0 else "short" for n in range(60)])
    assert quality(workdir) == {None}


def test_what_the_spec_says_counts_and_needs_no_note(workdir: Path) -> None:
    assert quality(workdir, "data.quality=loss") == {"loss"}
    assert quality(workdir, "data.quality=null") == {None}
    assert not [
        note for note in plan(workdir, SPEC, ("data.quality=exact_match",)).notes if "quality is" in note
    ]


def test_a_run_of_an_earlier_version_keeps_its_quality(workdir: Path) -> None:
    assert quality(workdir, conventions=FIRST) == {None}


def test_data_with_one_right_answer_keeps_its_trials(workdir: Path) -> None:
    assert quality(workdir, "data.train=commands") == {None}  # exact match, as before


def test_a_function_beside_the_spec_is_found_without_running_it_and_its_contents_are_in_the_id(
    workdir: Path,
) -> None:
    file = workdir / "scores.py"
    file.write_text("raise SystemExit('run')\ndef polite(prompt, reference, answer):\n    return 1.0\n")
    ids = []
    for _ in range(2):
        config = plan(workdir, SPEC, ("data.quality=scores:polite",)).cells[0].first()
        assert (config.data.quality, config.data.quality_file) == ("scores:polite", file)
        ids.append(config.trial_id())
        file.write_text(file.read_text() + "# changed\n")
    assert ids[0] != ids[1]
    (workdir / "elsewhere").mkdir()
    moved = config.data.model_copy(update={"quality_file": workdir / "elsewhere" / "scores.py"})
    assert config.model_copy(update={"data": moved}).trial_id() == ids[1]


@pytest.mark.parametrize(
    ("value", "what"),
    [
        ("scores:rude", "scores.py defines no function rude"),
        ("broken:f", "broken.py is no Python: invalid syntax"),
        (
            "no_such_module_here:f",
            "there is no module no_such_module_here beside the spec, and none of that name is",
        ),
        (
            "accuracy",
            "accuracy is no measure of answers; allowed: exact_match, loss, rouge_l, chrf, or a function",
        ),
        ("scores:rougeL", "rougeL is the name of another measure"),
    ],
)
def test_a_quality_that_can_not_be_used_is_an_error_at_its_place(
    workdir: Path, value: str, what: str
) -> None:
    (workdir / "scores.py").write_text("def polite(prompt, reference, answer): return 1.0\n")
    (workdir / "broken.py").write_text("def f(:\n")
    found = problems(workdir, SPEC, f"data.quality={value}")
    assert [each for each in found if each.startswith("--set data.quality") and what in each]


def test_a_quality_that_no_stage_is_judged_by_is_said(workdir: Path) -> None:
    text = SPEC.replace("rows.jsonl", "commands").replace("kind: sft", "kind: dpo")
    (warning,) = [each for each in problems(workdir, text, "data.quality=chrf") if "no effect" in each]
    assert warning == (
        "--set data.quality: it has no effect: dpo has a measure of its own; only sft is judged by data.quality"
    )


def test_an_installed_module_is_taken_where_none_lies_beside_the_spec(workdir: Path) -> None:
    config = plan(workdir, SPEC, ("data.quality=math:hypot",)).cells[0].first()
    assert (config.data.quality_file, config.data.quality_sha256) == (None, None)
