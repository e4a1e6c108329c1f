"""What tests share: a tiny model on disk, quiet libraries, one thread."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes with two threads each starve one another

# Processes that tests start would compile all our modules again, each of them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from trainables.storage.home import home
from trainables.system import quiet

quiet.silence()
# A busy machine is no fault: neither an example that takes long nor making them.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
pytest.register_assert_rewrite("tests.helpers.faults")  # its assertions say what differs


@pytest.fixture(scope="session", autouse=True)
def own_cache() -> Iterator[None]:
    """A cache of the tests' own for rows and tokens: what an earlier version of the code made is not theirs."""
    models, folder = home() / "models", Path(tempfile.mkdtemp(prefix="paretune-tests-"))
    models.mkdir(parents=True, exist_ok=True)
    (folder / "models").symlink_to(models, target_is_directory=True)
    os.environ["PARETUNE_HOME"] = str(folder)
    yield
    shutil.rmtree(folder)


@pytest.fixture(scope="session", autouse=True)
def short_previews() -> None:
    """Answers that only serve to be looked at, cut short: a random model ends none, and they are a third of a trial."""
    from trainables.scoring import generation

    generation.PREVIEW_TOKENS = 8


# Files of minutes, the longest first: begun last, one would run on alone while other workers have nothing left to do.
LONGEST = (
    "test_life",
    "test_survival",
    "test_sweep",
    "test_peeking",
    "test_links",
    "test_detached",
    "test_runs",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


_MANY_MODULES = 100
_modules_when_frozen = 0


@pytest.fixture(autouse=True)
def imported_libraries_frozen() -> None:
    """Keeps the garbage collector from the objects of imported libraries.

    Every trial collects garbage twice. Walking through what torch and transformers hold takes 0.4 s each time, which
    is 40 % of a trial of the tiny model.
    """
    global _modules_when_frozen
    if len(sys.modules) > _modules_when_frozen + _MANY_MODULES:
        gc.collect()  # what is frozen is never collected: no garbage may be among it
        gc.freeze()
        _modules_when_frozen = len(sys.modules)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helpers.tiny_model import make_model

    return make_model(tmp_path_factory.mktemp("models") / "tiny")
