"""What is stored of a study's run, and how another run of it is compared with that."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reports.studies.stored_study import stored_studies
from reports.studies.storing import FILE, store, study_of
from tests.helpers import studies
from tests.helpers.claimed_runs import BETTER, WITHIN, make_run
from tests.helpers.run_folders import record, write_run

HOST = "workstation-of-ada"
SOURCE = "Hu and others, 2021"


def study_run(folder: Path, *claims: dict[str, object]) -> Path:
    run = make_run(folder, *(claims or (WITHIN | {"source": SOURCE}, BETTER)), host=HOST, slot="slot-1")
    facts = {
        "name": "study-a",
        "question": "Is it?",
        "cpus": 2,
        "cpu_model": "Intel(R) Xeon(R) CPU",
        "seconds": 90.0,
    }
    environment = json.loads((run / "environment.json").read_text()) | facts | {"host": HOST}
    (run / "environment.json").write_text(json.dumps(environment))
    (run / "spec.yaml").write_text("name: study-a\n")
    return run


def test_a_stored_study_has_its_claims_with_source_outcome_and_interval(tmp_path: Path) -> None:
    store(study_run(tmp_path / "run"), tmp_path / "studies")
    (study,) = stored_studies(tmp_path / "studies").values()
    assert (study.name, study.seconds, study.machine) == ("study-a", 90.0, "2 cores, Intel Xeon CPU")
    within, better = study.claims
    assert (within.outcome, within.source, better.source) == ("supported", SOURCE, None)
    assert within.figures[0].startswith("lora minus full: -0.5 points, 95 %: ")
    assert within.results[0]["low"] < within.results[0]["estimate"] < within.results[0]["high"]


def test_what_is_stored_names_no_host_and_no_folder(tmp_path: Path) -> None:
    run = study_run(tmp_path / "run")
    file = min(run.glob("trials/*/record.json"))
    failed = json.loads(file.read_text()) | {"status": "failed", "error": f"no {run}/spec.yaml; see {run}"}
    file.write_text(json.dumps(failed))
    store(run, tmp_path / "studies")
    folder = tmp_path / "studies" / "study-a"
    assert {path.name for path in folder.iterdir()} == {"trials.parquet", "summary.md", FILE}
    texts = (folder / "summary.md").read_text() + (folder / FILE).read_text()
    assert HOST not in texts
    assert str(tmp_path) not in texts
    trials = pq.read_table(folder / "trials.parquet")
    assert trials.num_rows == 12
    assert HOST not in str(trials.to_pylist())
    assert str(tmp_path) not in str(trials.to_pylist())
    assert "no spec.yaml; see run" in str(trials["error"].to_pylist())
    assert "no spec.yaml; see run" in texts
    assert "Supported: lora is at most 5.0 points worse than full" in (folder / "summary.md").read_text()


def test_the_published_source_stands_beside_the_answer(tmp_path: Path) -> None:
    _, report = study_of(study_run(tmp_path / "run"))
    assert [finding.source for finding in report.findings] == [SOURCE, None]


def test_a_second_run_with_the_same_verdicts_is_as_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(study_run(tmp_path / "run"), tmp_path / "studies")
    assert studies.compare([study_run(tmp_path / "again")], tmp_path / "studies") == 0
    assert "study-a: as stored: supported, supported" in capsys.readouterr().out


def test_a_claim_that_comes_out_otherwise_is_named_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(study_run(tmp_path / "run"), tmp_path / "studies")
    file = tmp_path / "studies" / "study-a" / FILE
    values = json.loads(file.read_text())
    values["claims"][1]["outcome"] = "contradicted"
    file.write_text(json.dumps(values))
    assert studies.compare([study_run(tmp_path / "again")], tmp_path / "studies") == 1
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith("study-a: full is better than freeze: stored as contradicted (")
    assert "now supported (" in said


def test_a_run_of_which_nothing_or_another_claim_is_stored_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = study_run(tmp_path / "run")
    assert studies.compare([run], tmp_path / "studies") == 1
    assert "study-a: nothing is stored" in capsys.readouterr().out
    store(run, tmp_path / "studies")
    assert studies.compare([study_run(tmp_path / "other", WITHIN)], tmp_path / "studies") == 1
    assert "full is better than freeze: stored, and not claimed" in capsys.readouterr().out


def test_a_source_that_is_written_otherwise_is_the_same_claim(tmp_path: Path) -> None:
    store(study_run(tmp_path / "run"), tmp_path / "studies")
    again = study_run(tmp_path / "again", WITHIN | {"source": "others"}, BETTER)
    assert studies.compare([again], tmp_path / "studies") == 0


def test_a_run_that_claims_nothing_is_no_study(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [record("a", "lora")])
    with pytest.raises(ValueError, match="claims nothing; a study has claims"):
        store(run, tmp_path / "studies")
    assert not (tmp_path / "studies").exists()


def test_a_damaged_stored_study_is_named(tmp_path: Path) -> None:
    store(study_run(tmp_path / "run"), tmp_path / "studies")
    file = tmp_path / "studies" / "study-a" / FILE
    file.write_text("{")
    with pytest.raises(ValueError, match=r"study\.json: damaged"):
        stored_studies(tmp_path / "studies")


def test_the_table_has_a_row_for_each_claim(tmp_path: Path) -> None:
    study = store(study_run(tmp_path / "run"), tmp_path / "studies")
    head, _, within, better = studies.table([study]).splitlines()
    assert head.startswith("| study | claim | published by | what came out |")
    assert "| lora is at most 5.0 points worse than full | Hu and others, 2021 | supported |" in within
    assert "| 1 min 30 s | 2 cores, Intel Xeon CPU |" in better


def test_a_note_stands_beside_the_outcomes_as_long_as_these_are_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "studies"
    study = store(study_run(tmp_path / "run"), folder, "small models | differ")
    assert studies.table([study]).endswith("\nstudy-a: small models \\| differ\n")
    assert "| supported (note below) |" in studies.table([study])
    assert "\nNote: small models \\| differ\n" in (folder / "study-a" / "summary.md").read_text()
    assert store(study_run(tmp_path / "again"), folder).note == study.note
    assert store(study_run(tmp_path / "other", WITHIN), folder).note is None


def test_a_run_of_another_spec_or_with_other_settings_is_not_as_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(study_run(tmp_path / "run"), tmp_path / "studies")
    again = study_run(tmp_path / "again")
    environment = json.loads((again / "environment.json").read_text())
    changes = {"overrides": ["resources.cpus=1", "train.steps=4"]}
    (again / "environment.json").write_text(json.dumps(environment | changes))
    (again / "spec.yaml").write_text("name: study-a\n# longer\n")
    assert studies.compare([again], tmp_path / "studies") == 1
    assert capsys.readouterr().out.splitlines() == [
        "study-a: its spec is another one than when it was stored: run it anew",
        "study-a: stored with nothing changed by --set, now train.steps=4",
    ]


def test_a_run_with_a_damaged_file_is_not_stored(tmp_path: Path) -> None:
    run = study_run(tmp_path / "run")
    min(run.glob("trials/*/record.json")).write_text("{")
    with pytest.raises(ValueError, match=r"record\.json is damaged"):
        store(run, tmp_path / "studies")


def test_a_run_that_is_missing_does_not_keep_the_next_from_being_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = study_run(tmp_path / "run")
    store(run, tmp_path / "studies")
    assert studies.compare([tmp_path / "missing", run], tmp_path / "studies") == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("not compared: ")
    assert said[1].startswith("study-a: as stored")
