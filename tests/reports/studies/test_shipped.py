"""The studies that are stored in this repository, beside the shipped specs that they are of."""

from __future__ import annotations

import hashlib

from reports.studies.stored_study import FILE, stored_studies
from reports.studies.storing import SUMMARY, without_paths
from sweeps.spec.spec import SHIPPED, read
from tests.helpers import studies


def test_studies_are_stored_without_paths_of_the_machine_that_ran_them() -> None:
    folders = [studies.FOLDER / name for name in stored_studies()]
    assert folders
    for folder in folders:
        texts = [(folder / name).read_text(encoding="utf-8") for name in (FILE, SUMMARY)]
        assert not [text for text in texts if without_paths(text) != text], folder


def test_each_stored_study_is_of_the_shipped_spec_as_it_is() -> None:
    for name, study in stored_studies().items():
        text = (SHIPPED / f"{name}.yaml").read_bytes()
        assert study.spec_sha256 == hashlib.sha256(text).hexdigest(), name


def test_each_claim_of_a_stored_studys_spec_has_its_outcome() -> None:
    for name, study in stored_studies().items():
        claimed = [claim.statement for claim in read(name).claims]
        assert [claim.values for claim in study.claims] == claimed, name


def test_readme_has_the_table_of_all_stored_studies() -> None:
    text = studies.README.read_text(encoding="utf-8")
    assert text == studies.with_table(text)
