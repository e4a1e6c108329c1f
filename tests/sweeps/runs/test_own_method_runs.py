"""Runs with a method of one's own whose code is not run: what works without it, and what says that it needs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.execution.settling.means import Means
from sweeps.runs.resolve import resolve
from tests.helpers.own_methods import KIND, example, marked
from tests.helpers.trials import make_config, run, write_rows
from trainables import results
from trainables.inference.model_pool import ModelPool
from trainables.methods import own_imports, own_method
from trainables.methods.own_code import OwnCode
from trainables.models.folder import ModelError

ADAPTER = """\
from trainables.methods.lora import LoRA


class Small(LoRA):
    rank: int = 2


class InOwnForm(LoRA):
    def prepare(self, model, dtypes):
        pass
"""


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes this process one that has imported no method of one's own."""

    def forget() -> None:
        monkeypatch.setattr(own_method, "_CLASSES", {})
        monkeypatch.setattr(own_method, "_LATEST", {})
        for top in list(own_imports._ACTIVE):
            own_imports._forget(top)

    forget()
    return forget


def trained(folder: Path, model: Path, module: str, kind: str, **settings: Any) -> tuple[Path, Path]:
    """A run with one trial of a method; returns the run, and the file by which its module says that it ran."""
    file, mark = folder / f"{kind.partition(':')[0]}.py", folder / "ran"
    file.write_text(marked(module, mark))
    own_method.load_class(kind, OwnCode.read(file))
    method = {"kind": kind, **settings, **own_method.filled(kind)}
    config = make_config(model, write_rows(folder / "rows.jsonl"), method, eval_steps=2)
    config = config.model_copy(update={"cell": "sft-own", "method_name": "own"})
    record = run(config, folder / "run", memory_gauge=None)
    assert record.status == "done", record.error
    results.write_tables(folder / "run")
    mark.unlink()
    return folder / "run", mark


def test_a_whole_model_is_loaded_from_a_run_without_its_code(
    tmp_path: Path, tiny_model: Path, forgotten: Callable[[], None]
) -> None:
    folder, mark = trained(tmp_path, tiny_model, example()[0], KIND, layers=1)
    forgotten()
    (trial,) = results.trial_folders(folder)
    result = resolve(str(trial), lambda run: [])
    with ModelPool().load(result).active() as policy:
        assert policy.model is not None
    assert result.config.method.layers == 1  # type: ignore[union-attr]
    assert [record.status for record in results.read_run(folder).records] == ["done"]
    assert not mark.exists()


def test_an_adapter_on_the_base_as_it_is_needs_no_code_either(
    tmp_path: Path, tiny_model: Path, forgotten: Callable[[], None]
) -> None:
    folder, mark = trained(tmp_path, tiny_model, ADAPTER, "small:Small")
    forgotten()
    (trial,) = results.trial_folders(folder)
    result = resolve(str(trial), lambda run: [])
    assert result.is_adapter
    with ModelPool().load(result).active():
        pass
    assert not mark.exists()


def test_an_adapter_on_a_base_of_its_own_form_says_what_it_needs_and_is_loaded_with_trust(
    tmp_path: Path, tiny_model: Path, forgotten: Callable[[], None]
) -> None:
    folder, mark = trained(tmp_path, tiny_model, ADAPTER, "small:InOwnForm")
    forgotten()
    (trial,) = results.trial_folders(folder)
    with pytest.raises(
        ModelError,
        match=r"small:InOwnForm is code \(.*small.py\), which is run only with --trust method_code",
    ):
        ModelPool().load(resolve(str(trial), lambda run: []))
    assert not mark.exists()
    with ModelPool().load(resolve(str(trial), lambda run: [], ["method_code"])).active():
        assert mark.read_text() == "run\n"


def test_code_that_is_trusted_is_run_only_as_it_was_when_the_trial_was_planned(
    tmp_path: Path, tiny_model: Path, forgotten: Callable[[], None]
) -> None:
    folder, mark = trained(tmp_path, tiny_model, ADAPTER, "small:Small")
    forgotten()
    (tmp_path / "small.py").write_text(marked(f"{ADAPTER}\n# another\n", mark))
    (trial,) = results.trial_folders(folder)
    with pytest.raises(ModelError, match="has changed since this was planned"):
        resolve(str(trial), lambda run: [], ["method_code"])
    (tmp_path / "small.py").unlink()
    with pytest.raises(ModelError, match=r"small.py can't be read: No such file or directory"):
        resolve(str(trial), lambda run: [], ["method_code"])
    assert not mark.exists()


def test_settle_trains_no_further_seed_without_trust(
    tmp_path: Path, tiny_model: Path, forgotten: Callable[[], None]
) -> None:
    folder, mark = trained(tmp_path, tiny_model, example()[0], KIND, layers=1)
    forgotten()
    (trial,) = results.trial_folders(folder)
    means = Means(folder, ())
    assert not means.can_train(trial.name)
    assert "--trust method_code" in next(iter(means.reasons))
    assert not mark.exists()
    assert Means(folder, ("method_code",)).can_train(trial.name)


def test_a_worker_that_is_handed_a_config_as_json_imports_the_class_of_its_method(
    tmp_path: Path, tiny_model: Path, forgotten: Callable[[], None]
) -> None:
    own_method.load_class(KIND, _code(tmp_path))
    method = {"kind": KIND, "layers": 1, **own_method.filled(KIND)}
    config = make_config(tiny_model, write_rows(tmp_path / "rows.jsonl"), method)
    forgotten()
    read = type(config).model_validate(config.model_dump(mode="json"))
    assert isinstance(read.method, own_method.OwnMethod)
    ready = read.with_own_code()
    assert type(ready.method).__name__ == "NormTuning"
    assert ready.trial_id() == read.trial_id() == config.trial_id()


def _code(folder: Path) -> OwnCode:
    (folder / "norms.py").write_text(example()[0])
    return OwnCode.read(folder / "norms.py")
