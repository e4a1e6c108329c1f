"""What plans know of a tokenizer without loading it: as much as the tokenizer itself says, and never of another one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.trials import make_config
from trainables.config.data import DataConfig
from trainables.data.embedded import commands
from trainables.models.folder import ModelError
from trainables.tokenization.token_table import tokenizer_identity
from trainables.trial import known_tokenizer
from trainables.trial.config import TrialConfig
from trainables.trial.known_tokenizer import deferred_tokenizer
from trainables.trial.tokenizer import load_tokenizer, tokenizer_of


@pytest.fixture
def config(tiny_model: Path, tmp_path: Path) -> TrialConfig:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in commands.rows()[:20]), encoding="utf-8")
    return make_config(tiny_model, rows, "lora")


def with_data(config: TrialConfig, **settings: Any) -> TrialConfig:
    data = DataConfig.model_validate({**config.data.model_dump(), **settings})
    return config.model_copy(update={"data": data})


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"template": "qwen"},
        {"template": "qwen", "default_system": "Be brief."},
        {"template": "chatml", "tool_format": "omit"},
        {"special_tokens": "keep"},
        {"date": "2026-01-02"},
    ],
)
def test_it_has_the_identity_of_the_tokenizer_when_first_asked_and_from_the_cache(
    config: TrialConfig, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = with_data(config, **settings)
    expected = tokenizer_identity(tokenizer_of(asked))
    assert deferred_tokenizer(asked).identity == expected
    known_tokenizer._recent.clear()
    monkeypatch.setattr(known_tokenizer, "_loaded", lambda config: pytest.fail("it was loaded"))
    assert deferred_tokenizer(asked).identity == expected


def test_it_knows_the_system_text_that_the_template_adds(config: TrialConfig) -> None:
    assert known_tokenizer.known_tokenizer(with_data(config, template="chatml")).system_text is None
    asked = with_data(config, template="qwen", default_system="Be brief.")
    assert known_tokenizer.known_tokenizer(asked).system_text == "Be brief."


def test_another_template_in_the_models_folder_makes_it_another_one(
    config: TrialConfig, tiny_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    asked = config.model_copy(update={"model": config.model.model_copy(update={"path": folder})})
    before = deferred_tokenizer(asked).identity
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}", encoding="utf-8")
    after = deferred_tokenizer(asked).identity
    assert after != before
    assert after == tokenizer_identity(deferred_tokenizer(asked).loaded)


def test_a_template_file_that_was_edited_makes_it_another_one(config: TrialConfig, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    found = set()
    for text in ("{{ messages[0]['content'] }}", "{{ messages[-1]['content'] }}"):
        file.write_text(text, encoding="utf-8")
        load_tokenizer.cache_clear()  # as in another process
        found.add(deferred_tokenizer(with_data(config, template=str(file))).identity)
    assert len(found) == 2


def test_a_damaged_tokenizer_is_an_error_each_time_and_is_loaded_once_until_it_changes(
    config: TrialConfig, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, load = [], known_tokenizer._loaded
    monkeypatch.setattr(known_tokenizer, "_loaded", lambda config: loads.append(config) or load(config))
    asked = []
    for name in ("model", "other"):
        folder = shutil.copytree(tiny_model, tmp_path / name)
        (folder / "tokenizer.json").write_text("{", encoding="utf-8")
        asked.append(config.model_copy(update={"model": config.model.model_copy(update={"path": folder})}))
    for each in (asked[0], asked[0], asked[1]):
        with pytest.raises(ModelError, match=f"{each.model.path}: its tokenizer can't be read"):
            deferred_tokenizer(each)
    assert [each.model.path for each in loads] == [tmp_path / "model", tmp_path / "other"]
    shutil.copy(tiny_model / "tokenizer.json", tmp_path / "model" / "tokenizer.json")
    assert deferred_tokenizer(asked[0]).identity


def test_each_asker_of_a_damaged_tokenizer_gets_an_error_of_its_own(
    config: TrialConfig, tiny_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    (folder / "tokenizer.json").write_text("{", encoding="utf-8")
    asked = config.model_copy(update={"model": config.model.model_copy(update={"path": folder})})
    errors = []
    for _ in range(2):
        with pytest.raises(ModelError) as caught:
            deferred_tokenizer(asked)
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert errors[0].args == errors[1].args


def test_what_the_system_refuses_once_is_asked_for_again(
    config: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, refusals = known_tokenizer._loaded, [OSError(24, "Too many open files")]

    def refused_once(config: TrialConfig) -> Any:
        if refusals:
            raise ModelError("its tokenizer can't be read") from refusals.pop()
        return load(config)

    monkeypatch.setattr(known_tokenizer, "_loaded", refused_once)
    asked = with_data(config, date="2026-01-03")
    with pytest.raises(ModelError):
        deferred_tokenizer(asked)
    assert deferred_tokenizer(asked).identity


def test_a_plan_whose_rows_are_tokenized_imports_no_torch(config: TrialConfig, tmp_path: Path) -> None:
    data = {"train": config.data.train, "eval_fraction": 0.3, "cutoff": 64}
    spec = {
        "name": "known",
        "question": "Is torch needed?",
        "model": {"path": str(config.model.path)},
        "data": data,
        "stages": [{"kind": "sft"}],
        "methods": [{"kind": "lora", "rank": 4}],
        "train": {"steps": 2, "batch_size": 2},
        "search": {"trials": 1},
    }
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    code = (
        "import sys; from sweeps.planning.plan import make; from sweeps.spec.spec import read\n"
        f"plan = make(read({str(tmp_path / 'spec.yaml')!r}))\n"
        "print([name for name in ('torch', 'ray', 'transformers') if name in sys.modules], len(plan.cells))"
    )
    for expected in ("", "[] 1"):  # the first one may have to tokenize
        found = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert found.stdout.strip().endswith(expected)
