"""Sentences of a report in other languages: every template has its own there, with the same places for values."""

from __future__ import annotations

import ast
import pickle
import re
import string
from collections.abc import Iterator
from pathlib import Path

from reports.text import LANGUAGES, Text, _templates, joined, text, translated
from reports.values import current_values
from tests.helpers.paths import ROOT
from tests.helpers.run_folders import example_run

WORDS = re.compile(r"(?:[A-Za-z']{2,}[ ,]+){4,}[A-Za-z']{2,}")  # a clause in English


def literals(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def templates() -> set[str]:
    """The templates of texts, and the nouns that are counted."""
    found = set[str]()
    for path in (ROOT / "reports").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        for call in calls:
            if isinstance(call.func, ast.Name) and call.func.id in ("text", "joined"):
                found |= set(literals(call.args[0]))
            elif isinstance(call.func, ast.Attribute) and call.func.attr == "count" and len(call.args) == 2:
                found |= {form for noun in literals(call.args[1]) for form in (noun, f"{noun}s")}
    return found


def places(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def test_every_language_has_every_template_with_the_same_places_and_no_others() -> None:
    for language in LANGUAGES:
        known = _templates(language)
        assert set(known) == templates()
        assert not [template for template, own in known.items() if places(template) != places(own)]
        assert not [own for own in known.values() if WORDS.search(own) and "paretune " not in own]


def test_the_answer_of_a_run_has_no_english_sentence_in_another_language(tmp_path: Path) -> None:
    values = current_values([example_run(tmp_path / "methods")])
    said = values["translations"]["zh"]
    (english,), (answer,) = values["answers"], said["answers"]
    texts = [*answer["sentences"], *answer["questions"], answer["open_questions"]]
    assert len(texts) == len(english["sentences"]) + len(english["questions"]) + 1
    assert not [each for each in texts if WORDS.search(each) or not re.search("[\u4e00-\u9fff]", each)]
    numbers = [re.findall(r"\d+\.\d+", each) for each in english["sentences"]]
    assert [sorted(re.findall(r"\d+\.\d+", each)) for each in answer["sentences"]] == [
        sorted(each) for each in numbers
    ]
    reasons = [each["translations"]["zh"] for each in values["importance"] if each["reason"]]
    assert reasons
    assert not [each for each in reasons if WORDS.search(each)]


def test_names_within_a_sentence_are_never_taken_for_templates() -> None:
    name = "{value} points"
    sentence = text("{one} is better than {other}", one=name, other=joined(", ", ["rows", "{0}"]))
    assert sentence == "{value} points is better than rows, {0}"
    assert translated(sentence, "zh") == "{value} points 优于 rows、{0}"
    kept = pickle.loads(pickle.dumps(sentence))
    assert (kept, isinstance(kept, Text), translated(kept, "zh")) == (
        sentence,
        True,
        translated(sentence, "zh"),
    )
