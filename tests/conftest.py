"""What tests share: a tiny model on disk, quiet libraries, one thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes with two threads each starve one another

from trainables import noise

noise.silence()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny import make_model

    return make_model(tmp_path_factory.mktemp("models") / "tiny")
