"""Which models pages offer, and that a request can name no other ones."""

from __future__ import annotations

import pytest

from sweeps.ui import model_choices
from sweeps.ui.model_choices import WrongChoice, chosen_model, models_of_run
from sweeps.ui.roots import OutsideRoot
from tests.helpers.run_folders import record, write_run
from tests.sweeps.ui.conftest import UiUnderTest

LORA, FULL = "a" * 12, "b" * 12


@pytest.fixture
def key(ui: UiUnderTest) -> str:
    """A run with a trial that kept its model and one that did not."""
    run = write_run(ui.runs / "methods", [record(LORA), record(FULL, "full")])
    (run / "trials" / LORA / "model").mkdir(parents=True)
    return ui.state.runs.entries(now=True)[0].key


def test_a_run_a_cell_a_trial_and_a_checkpoint_are_named_by_the_runs_key(ui: UiUnderTest, key: str) -> None:
    place = f"{ui.runs}/methods"
    expected = {
        f"run:{key}": place,
        f"run:{key}:sft-lora": f"{place}:sft-lora",
        f"run:{key}:{LORA}": f"{place}:{LORA}",
        f"run:{key}:{LORA}@20": f"{place}:{LORA}@20",
    }
    assert {choice: chosen_model(ui.state, choice).argument for choice in expected} == expected
    assert chosen_model(ui.state, f"run:{key}:sft-lora").label == "methods:sft-lora"


@pytest.mark.parametrize(
    "choice",
    [
        None, 7, "", "run", "run:", "run:0123456789ab", "base:", "base:no-such-model", "base:--help",
        "file:/etc/passwd", "wandb:ada/project/model:v1", "hf:org/name", "/etc",
    ],
)  # fmt: skip
def test_what_is_not_offered_is_refused(ui: UiUnderTest, key: str, choice: object) -> None:
    with pytest.raises(WrongChoice):
        chosen_model(ui.state, choice)


@pytest.mark.parametrize(
    "part", ["no-such-cell", "c" * 12, "sft-lora@4", f"{LORA}@", f"{LORA}@x", f"{LORA}@4@5", "../../x", "-x"]
)
def test_a_part_that_a_run_does_not_have_is_refused(ui: UiUnderTest, key: str, part: str) -> None:
    with pytest.raises(WrongChoice, match="has no cell or trial"):
        chosen_model(ui.state, f"run:{key}:{part}")


def test_a_folder_is_one_with_a_model_below_the_data_folder(ui: UiUnderTest) -> None:
    (ui.data / "exports" / "lora").mkdir(parents=True)
    with pytest.raises(WrongChoice, match="has no model"):
        chosen_model(ui.state, "folder:exports/lora")
    (ui.data / "exports" / "lora" / "config.json").write_text("{}")
    assert chosen_model(ui.state, "folder:exports/lora").argument == f"{ui.data}/exports/lora"
    with pytest.raises(WrongChoice, match="is not a folder"):
        chosen_model(ui.state, "folder:missing")
    (ui.data / "link").symlink_to("/usr")
    for relative in ("/usr", "../runs", "link/share", "~", "a/../../b", ""):
        with pytest.raises(OutsideRoot):
            chosen_model(ui.state, f"folder:{relative}")


def test_base_models_are_those_on_this_machine(ui: UiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_choices, "BASES", model_choices.BaseModels())
    assert ui.client.get("/models").json()["bases"] == []
    monkeypatch.setattr(model_choices.BASES, "_names", ["smollm2-135m"])
    assert ui.client.get("/models").json()["bases"] == ["smollm2-135m"]
    assert chosen_model(ui.state, "base:smollm2-135m").argument == "smollm2-135m"


def test_trials_that_kept_no_model_are_not_offered(ui: UiUnderTest, key: str) -> None:
    offered = models_of_run(ui.state, key)
    assert offered["cells"] == ["sft-lora"]
    assert [trial["id"] for trial in offered["trials"]] == [LORA]
    assert ui.client.get(f"/models/{key}").json() == offered
    assert ui.client.get("/models/0123456789ab").status_code == 404
