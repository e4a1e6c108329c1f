"""What the server refuses and why commands fail is worded in the page's language, where it is no fault of a script."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from sweeps.ui.message_kinds import kind_of
from sweeps.ui.refusal_kinds import KINDS, translations
from sweeps.ui.snapshots.failure_kinds import failure_kind
from sweeps.ui.translation import Translator, catalogue
from tests.helpers.paths import ROOT
from tests.sweeps.ui.conftest import UiUnderTest
from trainables.config.ending import EndingRules
from trainables.config.train import TrainConfig
from trainables.training.best_validation import BestValidation
from trainables.training.checkpoints import Progress
from trainables.training.early_exit import EarlyExit

REFUSING = (
    *(
        "refused",
        "_error",
        "HTTPException",
        "OutsideRoot",
        "NotStarted",
        "NotEditable",
        "ModelError",
        "ValueError",
    ),
    *(
        "TooManyModels",
        "TooManyChats",
        "WrongChoice",
        "WrongArgument",
        "WrongValue",
        "WrongAddress",
        "SpecExists",
    ),
    "TooLong",
)
# What no page's own script asks for, and what a person who runs the server gets.
OF_PROGRAMS = (
    *("changes are accepted", "data are given", "the request's body", "reload the page", "no list of texts"),
    *("has no option", "on or off is expected", "a text or a number is expected", "the package plotly"),
    *("no entry of the catalogue", "from 0 to 2147483647", "a name is expected", "the number of a folder of runs"),
    *("does not begin with", "error.problems[0].what"),
)  # fmt: skip


def written(node: ast.AST) -> str | None:
    """A text of the code, with ``7`` in the place of each value."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(
                "7" if isinstance(each, ast.FormattedValue) else str(written(each)) for each in parts
            )
    return None


def messages() -> Iterator[str]:
    for path in sorted((ROOT / "sweeps" / "ui").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in REFUSING:
                source = ast.unparse(node)
                texts = (text for each in node.args if (text := written(each)) and " " in text)
                yield from (text for text in texts if not any(each in source for each in OF_PROGRAMS))


def test_each_refusal_that_a_person_can_meet_has_words_in_chinese() -> None:
    found = set(messages())
    assert len(found) > 40
    # A value of them is a word: the name of a command, or of what is not a number.
    said = {
        each.replace("paretune 7", "paretune try").replace("is not 7", "is not a number") for each in found
    }
    assert not {each for each in said if kind_of(each, KINDS) is None}
    assert {f"refusals.{key}" for key, _ in KINDS} == {
        key for key in catalogue("zh") if key.startswith("refusals.")
    }


def test_a_refusal_is_answered_in_english_and_in_the_other_languages(ui: UiUnderTest) -> None:
    error = ui.post("/runs", {"url": "here"}).json()["error"]
    assert error["message"] == "'here' is no URL of a run, such as s3://bucket/runs/methods"
    assert error["translations"] == {"zh": "'here' 不是运行的 URL，正确写法如 s3://bucket/runs/methods"}
    page = ui.client.get(
        f"/reports/{'0' * 16}/index.html", headers={"accept": "text/html", "accept-language": "zh"}
    )
    assert page.status_code == 404
    assert "没有这份报告" in page.text


def test_a_rare_message_stays_as_the_command_says_it() -> None:
    assert translations("RuntimeError: the socket is on fire") == {}
    assert translations("/a/b exists already; --force replaces it once the new one is complete")[
        "zh"
    ].startswith("/a/b")


def early_exits() -> Iterator[str | None]:
    """The reasons as the rules themselves say them."""
    diverged = EarlyExit(EndingRules(early_exit=("diverged",)), steps=40, warmup_steps=0)
    for step, loss in enumerate([4.0, 4.1, 7.9, 8.0, 8.1, 8.2, 7.9, 8.0], start=1):
        diverged.add_loss(step, loss)
    yield diverged.reason
    overfitted = EarlyExit(EndingRules(early_exit=("overfitted",)), steps=40, warmup_steps=0)
    for step, objective in enumerate([-1.0, -1.1, -1.2, -1.3], start=1):
        overfitted.add_objective(step, objective)
    yield overfitted.reason
    for patience, least in ((2, 0.0), (2, 0.5), (1, 0.0), (1, 0.5)):
        rules = {"patience": patience, "min_delta": least}
        train = TrainConfig(steps=9, learning_rate=1e-3, eval_steps=1, early_stopping=rules)
        best = BestValidation(train, 9, Progress())
        for step in range(1, patience + 2):
            best.add(step, -1.0)
        yield best.end_reason


def test_the_reasons_of_early_ends_have_words_in_chinese() -> None:
    keys = []
    for reason in early_exits():
        found = failure_kind(reason)
        assert found is not None, reason
        assert Translator("zh")(found["key"], **found["values"])
        keys.append(found["key"].removeprefix("failures."))
    assert keys == [
        "diverged",
        "overfitted",
        "no_better",
        "no_better_by",
        "last_no_better",
        "last_no_better_by",
    ]


@pytest.mark.parametrize("last", ["error: /m exists already; --force replaces it", "something rare"])
def test_a_job_that_failed_says_why_in_the_language_of_its_page(last: str) -> None:
    from sweeps.ui.pages.jobs import for_page

    said = for_page(
        None, {"log": f"loads\n{last}\n", "events": [{"event": "error", "message": "choose a model"}]}
    )
    assert said["events"][0]["translations"] == {"zh": "请选择模型"}
    assert ("zh" in said["log_translations"]) == last.startswith("error")


def test_what_commands_are_doing_has_words_in_chinese() -> None:
    places = (path for package in ("sweeps", "trainables") for path in sorted((ROOT / package).rglob("*.py")))
    said = {
        what
        for path in places
        for what in re.findall(r'^ +report_progress\("([^"]+)"', path.read_text(), re.M)
    }
    assert len(said) >= 8
    keys = {f"jobs.progress_{re.sub(r'[^A-Za-z0-9]+', '_', what)}" for what in said}
    assert keys == {key for key in catalogue("zh") if key.startswith("jobs.progress_")}
