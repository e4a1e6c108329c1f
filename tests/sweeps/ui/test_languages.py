"""The words of the pages: the same in both languages, all used, and none untranslated on any page."""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.spec.spec import shipped_specs
from sweeps.ui.drafts.fields import form_fields
from sweeps.ui.translation import LANGUAGES, catalogue
from tests.helpers.paths import ROOT
from tests.helpers.small_ui_runs import write_runs
from tests.sweeps.ui.conftest import UiUnderTest

PREFIXES = ("label_", "help_", "kind_")
UI = ROOT / "sweeps" / "ui"
# What is the same in Chinese: names of programs, formats, measures, methods and settings, and units.
TERM_TEXT = """
paretune english wandb w b ray url json yaml gguf ollama llama cpp hugging face hub python api openai vllm
transformers lora qlora dora full freeze sft dpo kto rank alpha loss gib gpu cpu tokens token top k p few shot
csv tsv jsonl txt parquet spec rss rouge rougel s3 seed trust remote_code pickle id pareto asha pid modelfile
lm evaluation harness ctrl ui x mib kib n pdf svg png ssh hf qa markdown md enter shift esc zip bf16 f16 q8_0
m mb gb chatml llama3 logits
"""
TERMS = frozenset(TERM_TEXT.split())


def files(*suffixes: str) -> Iterator[Path]:
    for path in sorted(UI.rglob("*")):
        if path.suffix in suffixes and "__pycache__" not in path.parts:
            yield path


def places(text: str) -> set[str | None]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def chinese() -> dict[str, str]:
    """The Chinese words without those of refusals, whose English is the messages themselves."""
    return {key: text for key, text in catalogue("zh").items() if not key.startswith("refusals.")}


def test_both_languages_have_the_same_keys() -> None:
    english = sorted(path.name for path in (UI / "words" / "en").glob("*.json"))
    assert sorted([*english, "refusals.json"]) == sorted(
        path.name for path in (UI / "words" / "zh").glob("*.json")
    )
    assert set(catalogue("en")) == set(chinese())


def test_the_places_for_values_are_the_same_in_both_languages() -> None:
    differing = [key for key, text in catalogue("en").items() if places(text) != places(catalogue("zh")[key])]
    assert not differing


def test_no_text_is_empty_or_left_in_english() -> None:
    for language in LANGUAGES:
        assert not [key for key, text in catalogue(language).items() if not text.strip()]
    untranslated = [
        (key, text)
        for key, text in catalogue("zh").items()
        if not re.search("[\u4e00-\u9fff]", text) and unknown_words(re.sub(r"\{\w+\}", "", text))
    ]
    assert not untranslated


def test_no_sentence_in_chinese_contains_a_sentence_in_english() -> None:
    english = re.compile(r"(?:[A-Za-z']{2,}[ ,]+){5,}[A-Za-z']{2,}")
    # Commands that people type are the same in every language.
    found = [(key, match[0]) for key, text in catalogue("zh").items() if (match := english.search(text))]
    assert not [each for each in found if not each[1].startswith("paretune ")]


def test_every_key_that_templates_scripts_and_pages_name_exists() -> None:
    areas = "|".join(sorted({key.partition(".")[0] for key in catalogue("en")}))
    named = re.compile(rf"""(?<![\w.])[`"']((?:{areas})\.(?!js\b|css\b|html\b)[a-z0-9_]*[a-z0-9])[`"']""")
    calls = re.compile(r"""\bt\(\s*[`"']([\w.]+)[`"']\s*[,)]""")
    missing = set()
    for path in files(".html", ".js", ".py"):
        text = path.read_text()
        keys = set(calls.findall(text)) | (set(named.findall(text)) if path.suffix != ".py" else set())
        missing |= {f"{path.name}: {key}" for key in keys if key not in catalogue("en")}
    assert not missing


def test_every_key_is_used() -> None:
    """A key is used if it stands somewhere, or begins or ends with what a template or script puts a value beside."""
    texts = "\n".join(path.read_text() for path in files(".html", ".js", ".py"))
    starts = set(re.findall(r"""[`"']([a-z]+\.[a-z0-9_]+)(?:\$\{|\{|[`"'] ?(?:~|\+))""", texts))
    # `t(area ~ ".help_" ~ field.name)`: the area is a value, too.
    ends = tuple(re.findall(r"""[~+] ?[`"'](\.[a-z0-9_]+_)[`"']""", texts))
    unused = []
    for key in catalogue("en"):
        area, _, name = key.partition(".")
        composed = key.startswith(tuple(starts)) or f".{name}".startswith(ends)
        named = re.search(rf"""[`"']{re.escape(key)}[`"']""", texts)
        # `t(`new.${severity}`)`, and problems and failures, by the kinds of their sentences.
        whole = area in ("problems", "failures") or key in (
            "new.error",
            "new.warning",
            "new.info",
        )
        if not composed and not named and not whole:
            unused.append(key)
    assert not unused


def test_the_words_about_settings_are_of_settings_and_kinds_that_there_are() -> None:
    known = form_fields()
    sections = {
        f"{part}_{field['name']}": field for part, fields in known["sections"].items() for field in fields
    }
    entries = {
        f"{part}_{field['name']}": field
        for part, kinds in known["entries"].items()
        for kind in kinds.values()
        for field in kind["fields"]
    }
    kinds = {kind for part in (*known["entries"].values(), known["claims"]) for kind in part}
    about = [key.removeprefix("fields.") for key in catalogue("zh") if key.startswith("fields.")]
    said = {prefix: {key.partition("_")[2] for key in about if key.startswith(prefix)} for prefix in PREFIXES}
    assert said["label_"] == said["help_"]
    assert said["label_"] <= {*sections, *entries}
    assert said["kind_"] == kinds


def unknown_words(text: str) -> list[str]:
    return [word for word in re.findall(r"[A-Za-z][A-Za-z_0-9']*", text) if word.lower() not in TERMS]


PAGES = ("/", "/new", "/chat", "/evaluate", "/export", "/memory", "/jobs", "/sign-in", "/nothing")
LABELS = re.compile(
    r"<(h[1-6]|button|label|legend|summary|th|option|a|title)\b([^>]*)>(.*?)</\1>|(?:aria-label|placeholder|title)=\"([^\"]*)\"",
    re.DOTALL,
)


@pytest.mark.parametrize("path", [*PAGES, "/runs/KEY", "/runs/KEY/trials/TRIAL", "/compare?run=KEY&run=KEY"])
def test_no_page_shows_an_untranslated_label_and_each_has_a_title(ui: UiUnderTest, path: str) -> None:
    run = write_runs(ui.runs)
    address = path.replace("KEY", run.key).replace("TRIAL", run.trial)
    titles = set()
    for language in LANGUAGES:
        headers = {"accept-language": language, "accept": "text/html"}
        client = ui.stranger if path == "/sign-in" else ui.client
        answer = client.get(address, headers=headers)
        assert answer.status_code == (404 if path == "/nothing" else 200)
        assert f'<html lang="{language}">' in answer.text
        title = re.findall(r"<title>(.*?) – Paretune</title>", answer.text)
        assert len(title) == 1
        assert title[0].strip()
        titles.add(title[0])
    assert len(titles) == (1 if "KEY" in path and "compare" not in path else 2)
    text = re.sub(r"<script.*?</script>|<code.*?</code>|<pre.*?</pre>", " ", answer.text, flags=re.DOTALL)
    wrong = []
    for tag, attributes, inner, attribute in LABELS.findall(text):
        shown = re.sub(r"<[^>]*>", " ", inner) or attribute
        value = (
            tag == "option" and " value=" not in attributes
        )  # a value of a setting, the same in every language
        if value or shown.isupper() or 'translate="no"' in attributes or re.search("[\u4e00-\u9fff]", shown):
            continue
        if unknown_words(re.sub(r"&\w+;|[\w./:]*/[\w./:]*|\w+\.\w+|\w+=\S*|--[\w-]+", " ", shown)):
            wrong.append(shown.strip())
    titles = {f"{run.name} – Paretune", f"{run.trial} – {run.name} – Paretune"}
    allowed = {run.name, run.trial, *run.names, *shipped_specs(), *titles}
    assert not [each for each in wrong if each not in allowed]
