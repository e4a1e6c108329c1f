"""The answer of a run, which a process of its own computes while pages go on."""

from __future__ import annotations

import re
from typing import Any

from sweeps.ui.snapshots.answers import in_language
from sweeps.ui.snapshots.failure_kinds import KINDS, failure_kind
from sweeps.ui.translation import Translator, catalogue
from tests.helpers.small_ui_runs import write_runs
from tests.helpers.ui_children import wait_for
from tests.sweeps.ui.conftest import UiUnderTest
from trainables.results import NOTHING_TO_START_FROM


def test_the_answer_is_in_the_pages_language_and_has_the_importance_of_settings(ui: UiUnderTest) -> None:
    run = write_runs(ui.runs, trials=24)

    def answer(language: str = "en") -> Any:
        return ui.client.get(f"/runs/{run.key}/answer", headers={"accept-language": language}).json()

    wait_for(lambda: (found := answer()).get("as_of") or found.get("problem"), 120)
    assert answer()["problem"] is None
    cells = {each["cell"]: each for each in answer()["value"]["importance"]}
    assert set(cells) == {"sft-lora", "sft-full"}
    assert all(cell["reason"] or cell["shares"] or cell["like_noise"] for cell in cells.values())
    english, chinese = answer()["value"], answer("zh")["value"]
    assert (english["language"], chinese["language"]) == ("en", "zh")
    for one, other in zip(english["answers"], chinese["answers"], strict=True):
        assert len(one["sentences"]) == len(other["sentences"])
        assert not [each for each in other["sentences"] if not re.search("[\u4e00-\u9fff]", each)]
    old = {"answers": [{"sentences": ["Use lora."]}], "translations": "damaged"}
    assert in_language(old, "zh") == {"answers": old["answers"], "language": "en"}


def test_the_frequent_reasons_of_failures_have_words_and_rare_ones_stay_as_they_are() -> None:
    sentences = {
        "NotFinite: the validation objective is -inf at step 8": "failures.not_finite",
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB": "failures.no_memory",
        f"{NOTHING_TO_START_FROM} sft-lora, and no trial of that cell is done": "failures.nothing_to_start_from",
        "stopped by hand at step 12": "failures.by_hand",
        "its worker died 3 times before it reached another checkpoint, or was ended": "failures.worker_died",
    }
    for sentence, key in sentences.items():
        found = failure_kind(sentence)
        assert found is not None
        assert found["key"] == key
        assert Translator("zh")(key, **found["values"])
    assert {f"failures.{key}" for key, _ in KINDS} == {
        key for key in catalogue("zh") if key.startswith("failures.")
    }
    assert "no sign of life" in Translator("en")("failures.worker_died", count="3")
    assert "没有响应" in Translator("zh")("failures.worker_died", count="3")
    assert failure_kind("RuntimeError: something else") is None
    assert failure_kind(None) is None
