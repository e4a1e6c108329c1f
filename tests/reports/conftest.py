"""A report that several files of tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from reports.write import write
from tests.helpers.run_folders import example_run


@pytest.fixture(scope="session")
def example_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the example run, with its report; to be read alone."""
    folder = example_run(tmp_path_factory.mktemp("runs") / "methods")
    write([folder])
    return folder
