"""``stop RUN:TRIAL`` and ``add RUN --like TRIAL``: what they ask of a run by its folder alone, and what they refuse."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from sweeps.execution.run_folder import prepare
from sweeps.runs import lock, trial_requests
from sweeps.runs.trial_requests import MARK, open_requests
from tests.helpers.searches import Tune, config_of, end, search_of
from tests.helpers.specs import plan, spec_folder
from trainables import results
from trainables.results import Record
from trainables.storage import files
from trainables.storage.url_store import Store

Run = tuple[Path, dict[str, list[str]]]  # its folder, and its trials by cell


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of which the first trial of each cell is done, with all others begun."""
    planned, folder = plan(spec_folder(tmp_path)), tmp_path / "runs" / "tiny"
    prepare(planned, folder, resume=False)
    cells: dict[str, list[str]] = {}
    for config in Tune(search_of(planned, folder)).all():
        cells.setdefault(config["cell"], []).append(config["trial_id"])
    for trials in cells.values():
        end(folder, trials[0], "done", 0.5)
    return folder, cells


def command(*words: str | Path, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done.output


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def hand_over(folder: Path, trial_id: str, **ended: Any) -> None:
    """Writes the record that the run's driver would have."""
    record = Record(**config_of(folder, trial_id).identity(), **ended)
    results.write_record(folder / "trials" / trial_id, record)


# stop RUN:TRIAL


def test_without_a_driver_the_request_waits_in_the_run_folder(run: Run) -> None:
    folder, cells = run
    trial = cells["sft-lora"][1]
    output = in_one_line(command("stop", f"{folder}:{trial[:6]}"))
    assert f"sft-lora {trial} is to be stopped; no process runs it now" in output
    assert "--resume" in output
    assert open_requests(folder).stops == (trial,)
    assert f"{trial} is to be stopped by hand, once the run is resumed" in command("status", folder)


def test_a_living_driver_is_waited_for_and_how_the_trial_ended_is_said(run: Run) -> None:
    folder, cells = run
    trial = cells["sft-lora"][1]
    ended = {"status": "stopped", "steps": 3, "stopped_by_hand": True}

    def drive() -> None:
        while not open_requests(folder).stops:
            pass
        hand_over(folder, trial, stop_reason="stopped by hand at step 3", **ended)

    with lock.held(folder):
        driver = threading.Thread(target=drive)
        driver.start()
        output = command("stop", f"{folder}:{trial}")
        driver.join()
    assert f"sft-lora {trial}: stopped by hand at step 3 of 8" in output
    assert "stopped by hand at step 3 of 8" in command("logs", f"{folder}:{trial}")
    assert f"sft-lora {trial}: stopped by hand at step 3 of 8" in command("status", folder)
    assert json.loads(command("status", folder, "--json"))["stopped_by_hand"] == [trial]


def test_a_driver_that_takes_longer_than_may_be_waited_is_named(run: Run) -> None:
    folder, cells = run
    with lock.held(folder):
        output = command("stop", f"{folder}:{cells['sft-lora'][1]}", "--wait", "0", code=1)
    assert "still running after 0 s: process" in output


def test_stop_tells_other_programs_what_happened(run: Run) -> None:
    folder, cells = run
    trial = cells["sft-lora"][1]
    said = json.loads(command("stop", f"{folder}:{trial}", "--json"))
    assert (said["trial_id"], said["cell"], said["state"], said["holder"]) == (
        trial,
        "sft-lora",
        "requested",
        None,
    )
    assert said["resume"].endswith("--resume")


def test_a_trial_that_has_ended_is_not_stopped(run: Run) -> None:
    folder, cells = run
    output = command("stop", f"{folder}:{cells['sft-full'][0]}", code=2)
    assert f"sft-full {cells['sft-full'][0]} has ended already: done" in output
    assert not open_requests(folder).stops


def test_the_untrained_model_has_nothing_to_stop_at(run: Run) -> None:
    folder, cells = run
    (folder / "trials" / cells["sft-base"][0] / "record.json").unlink()
    output = in_one_line(command("stop", f"{folder}:{cells['sft-base'][0]}", code=2))
    assert "scores the untrained model" in output


def test_an_unknown_trial_is_answered_with_the_nearest(run: Run) -> None:
    folder, cells = run
    trial = cells["sft-lora"][1]
    wrong = f"{trial[:-1]}{'0' if trial[-1] != '0' else '1'}"
    output = in_one_line(command("stop", f"{folder}:{wrong}", code=2))
    assert f"{wrong!r} is no trial of this run. Did you mean {trial}" in output


def test_few_characters_stop_no_trial(run: Run) -> None:
    folder, cells = run
    trial = cells["sft-lora"][1]
    others = [each for trials in cells.values() for each in trials if each != trial]
    shortest = next(trial[:end] for end in (1, 2, 3) if not any(o.startswith(trial[:end]) for o in others))
    assert "at least 4 characters" in command("stop", f"{folder}:{shortest}", code=2)


def test_a_colon_with_nothing_behind_it_does_not_stop_the_run(run: Run) -> None:
    assert "no trial stands behind the colon" in command("stop", f"{run[0]}:", code=2)


def test_a_run_at_a_url_is_asked_there(run: Run) -> None:
    folder, cells = run
    store = Store(f"memory://{secrets.token_hex(4)}/tiny")
    store.push(folder, [str(path.relative_to(folder)) for path in folder.rglob("*.json")])
    trial = cells["sft-lora"][1]
    command("stop", f"{store.url}:{trial}")
    said = command("add", store.url, "--like", trial, "--set", "method.rank=16", "--json")
    added = json.loads(said)["trial_id"]
    assert set(store.list("requests")) == {f"requests/stop-{trial}.json", f"requests/add-{added}.json"}


# Who takes no requests


@pytest.fixture
def of_an_earlier_version(run: Run) -> Iterator[Run]:
    """A run that is driven by a version that looks for no requests."""
    environment = json.loads((run[0] / "environment.json").read_text())
    del environment[MARK]
    files.write_json(run[0] / "environment.json", environment)
    with lock.held(run[0]):
        yield run


def test_a_driver_of_an_earlier_version_is_asked_for_nothing(of_an_earlier_version: Run) -> None:
    folder, cells = of_an_earlier_version
    trial = cells["sft-lora"][1]
    for words in (("stop", f"{folder}:{trial}"), ("add", folder, "--like", trial, "--set", "method.rank=2")):
        assert "is run by an earlier version" in command(*words, code=2)
    assert open_requests(folder) == trial_requests.OpenRequests()


def test_trials_of_try_are_stopped_by_ctrl_c(run: Run) -> None:
    folder, cells = run
    (folder / "environment.json").unlink()
    trial = cells["sft-lora"][1]
    for words in (("stop", f"{folder}:{trial}"), ("add", folder, "--like", trial)):
        assert "holds trials of `paretune try`" in in_one_line(command(*words, code=2))


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    assert "is it a run folder" in command("add", tmp_path, "--like", "3f2a9c81d0b4", code=2)


# add


def test_an_added_trial_is_announced_and_waits_for_the_driver(run: Run) -> None:
    folder, cells = run
    like = cells["sft-lora"][0]
    output = in_one_line(command("add", folder, "--like", like[:8], "--set", "method.rank=16"))
    (addition,) = open_requests(folder).additions
    made = addition.trial_config()
    assert (made.role, made.cell, getattr(made.method, "rank", None)) == ("added", "sft-lora", 16)
    assert made.train == config_of(folder, like).train
    said = f"sft-lora {addition.trial_id} is added by hand, as {like} with method.rank=16"
    assert said in output
    assert "--resume` trains it" in output
    shown = command("status", folder)
    assert "and 1 added by hand" in shown
    assert f"sft-lora {addition.trial_id} was added by hand (as {like}, method.rank=16)" in shown
    assert json.loads(command("status", folder, "--json"))["to_add"][0]["trial_id"] == addition.trial_id


def test_add_tells_other_programs_what_happened(run: Run) -> None:
    folder, cells = run
    with lock.held(folder):
        like = cells["sft-lora"][0]
        output = command("add", folder, "--like", like, "--set", "method.rank=16", "--json")
    said = json.loads(output)
    assert (said["like"], said["changes"], said["state"]) == (like, ["method.rank=16"], "requested")
    assert said["trial_id"] == open_requests(folder).additions[0].trial_id
    assert said["holder"].startswith("process ")
    assert said["resume"] is None


def test_an_added_trial_that_has_not_begun_can_be_stopped_and_cloned(run: Run) -> None:
    folder, cells = run
    said = command("add", folder, "--like", cells["sft-lora"][0], "--set", "method.rank=16", "--json")
    first = json.loads(said)["trial_id"]
    command("add", folder, "--like", first, "--set", "train.seed=7")
    assert [each.like for each in open_requests(folder).additions][-1] == first
    command("stop", f"{folder}:{first}")
    assert open_requests(folder).stops == (first,)


REFUSED = [
    ("method.rnak=16", "unknown key. Did you mean rank?"),
    ("method.rank=0", "at least 1"),
    ("method.rank=high", "a whole number"),
    ("method.dropout=2", "below 1"),
    ("rank=16", "Did you mean method.rank?"),
    ("methods[1].rank=16", "Did you mean method.rank?"),
    ("search.trials=8", "a trial has no such setting"),
    ("method.kind=full", "makes another cell than sft-lora"),
    ("method={kind: full}", "give its settings one by one"),
    ("model.path=elsewhere", "makes another cell than sft-lora"),
    ("data.cutoff=32", "makes another cell than sft-lora"),
    ("stage.kind=dpo", "makes another cell than sft-lora"),
    ("method.rank={choice: [4, 8]}", "one value for each setting"),
    ("method.rank", "Write path=value"),
    ("train.precision=fp8", "allowed"),
    ("method.targets=[no_such_module]", "no_such_module"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_a_change_that_no_trial_of_the_cell_can_have_is_refused(run: Run, change: str, words: str) -> None:
    folder, cells = run
    output = in_one_line(command("add", folder, "--like", cells["sft-lora"][0], "--set", change, code=2))
    assert words.lower() in output.lower()
    assert not open_requests(folder).additions


def test_steps_and_epochs_replace_one_another_as_in_a_spec(run: Run) -> None:
    folder, cells = run
    command("add", folder, "--like", cells["sft-lora"][0], "--set", "train.epochs=1")
    train = open_requests(folder).additions[0].trial_config().train
    assert (train.steps, train.epochs) == (None, 1)


def test_a_trial_that_equals_another_one_is_not_added(run: Run) -> None:
    folder, cells = run
    like, change = cells["sft-lora"][0], "method.rank=16"
    without = in_one_line(command("add", folder, "--like", like, code=2))
    assert f"that would be equal to sft-lora {like}" in without
    added = json.loads(command("add", folder, "--like", like, "--set", change, "--json"))["trial_id"]
    again = in_one_line(command("add", folder, "--like", like, "--set", change, code=2))
    assert f"that would be equal to sft-lora {added}" in again


def test_the_untrained_model_has_no_settings_to_change(run: Run) -> None:
    folder, cells = run
    output = command("add", folder, "--like", cells["sft-base"][0], code=2)
    assert "scores the untrained model, and has no settings to change" in output
