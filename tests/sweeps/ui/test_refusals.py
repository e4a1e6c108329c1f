"""What the server refuses and why commands fail is worded in the page's language, where it is no fault of a script."""

from __future__ import annotations

import ast
import re
import string
import time
from collections.abc import Iterator
from functools import reduce

import pytest

from sweeps.ui.drafts.problem_kinds import KINDS as PROBLEMS
from sweeps.ui.message_kinds import kind_of
from sweeps.ui.pages.jobs import in_languages
from sweeps.ui.refusal_kinds import KINDS, translations
from sweeps.ui.resume_command import YOURSELF
from sweeps.ui.snapshots.failure_kinds import KINDS as FAILURES
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
    *("TooLong", "WrongRequest", "Failed"),
)
# What no page's own script asks for, and what a person who runs the server gets; 7 stands for a value.
OF_PROGRAMS = {
    *("7 has no option 7", "7: a name is expected that doesn't begin with a dash", "there is no setting 7"),
    *("7: a name is expected, not 7; select one of the list", "7: a text or a number is expected"),
    *(
        "7: on or off is expected",
        "a conversation has 1 to 7 messages",
        "a message has a role (7) and a text",
    ),
    *("an answer needs an id, a model and messages", "ask one to 7 models", "sampling is an object"),
    *("stop: a list of texts is expected", "the changed settings are no list of texts"),
    "changes are accepted from the pages of this server alone",
    "data are given to the pages of this server alone",
    "op: a change is set, add or remove; reload the page",
    "output: the number of a folder of runs is from 0 to 7",
    "path: the path of a value is expected, such as train.steps; reload the page",
    "text: the text of the spec is missing; reload the page",
    "version: the number of the draft's version is missing; reload the page",
    "the package plotly is missing: pip install plotly",
    *("the request's body is not JSON", "the request's body is not a JSON object"),
    *("7: 7", "words/7/7: 7 does not begin with 7"),
}
# What stands in the place of a value of them, where any text would be no such message.
AS_SAID = {
    "paretune 7": "paretune try",
    "is not 7": "is not a number",
    "a 7number": "a whole number",
    "to go on with; 7": f"to go on with; {YOURSELF}",
    "run code (7); 7": f"run code (7); {YOURSELF}",
}


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
                yield from (text for each in node.args if (text := written(each)) and " " in text)


def test_each_refusal_that_a_person_can_meet_has_words_in_chinese() -> None:
    found = set(messages())
    assert len(found) > 40
    said = {reduce(lambda text, part: text.replace(*part), AS_SAID.items(), each) for each in found}
    assert not {each for each in said - OF_PROGRAMS if kind_of(each, KINDS) is None}
    assert not OF_PROGRAMS - said
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


@pytest.mark.parametrize("last", ["error: another export to /m is in progress", "something rare"])
def test_a_job_that_failed_says_why_in_the_language_of_its_page(last: str) -> None:
    said = in_languages(
        {"log": f"loads\n{last}\n", "events": [{"event": "error", "message": "choose a model"}]}
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


def hard_texts() -> Iterator[str]:
    """Long texts, in which a pattern finds its own words many times."""
    yield "a needs b, and c has d " * 166
    for _, pattern in (*KINDS, *FAILURES, *PROBLEMS):
        literal = re.sub(
            r"\\(.)", r"\1", re.sub(r"\(\?.*?\)|[+*?]|\[.*?\]|\\[SwdsbW]", "a ", pattern.pattern)
        )
        yield literal * 2000
        yield (literal[: len(literal) // 2] + ", " + literal[len(literal) // 4 :]) * 2000


def test_no_text_takes_long_to_tell_the_kind_of() -> None:
    for text in hard_texts():
        begun = time.process_time()
        for known in (KINDS, FAILURES, PROBLEMS):
            kind_of(text, known)
        assert time.process_time() - begun < 1, text[:80]


def test_what_the_words_of_a_kind_do_not_say_is_shown_as_the_program_says_it() -> None:
    message = "its process ended with code 1: ModuleNotFoundError: No module named 'torch'"
    assert translations(message)["zh"] == f"其进程以退出码 1 结束\n{message}"
    assert translations("choose a model\nor a run")["zh"] == "请选择模型\nchoose a model\nor a run"
    assert translations("line 3: could not find expected ':'")["zh"] == "第 3 行：could not find expected ':'"
    others = "/m holds other files than those of a model (a.txt, b.txt), and --force replaces only folders that hold a "
    assert "（a.txt, b.txt）" in translations(others + "model; give another folder")["zh"]


def test_a_run_of_many_files_is_refused_in_chinese_too() -> None:
    message = (
        "s3://b/r: 12,345 files with 9,876,543 bytes would be copied to this machine, more than 10,000 or 99; "
        "copy the run yourself, and show the copy"
    )
    assert "12,345 个文件（9,876,543 字节）" in translations(message)["zh"]


def test_the_places_of_the_chinese_words_are_values_that_the_patterns_find() -> None:
    for key, pattern in KINDS:
        text = catalogue("zh")[f"refusals.{key}"]
        places = {name for _, name, _, _ in string.Formatter().parse(text) if name}
        assert places <= set(pattern.groupindex), key
