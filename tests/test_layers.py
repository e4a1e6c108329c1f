"""The import contracts (pyproject.toml, tool.importlinter), and what must stay quick to import."""

from __future__ import annotations

import ast
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGES = ("trainables", "sweeps", "reports")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The full names of everything that a file imports, anywhere in it: ``ray.tune``, ``trainables.results``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which package uses which"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lint(cwd: Path) -> subprocess.CompletedProcess[str]:
    """The contracts of pyproject.toml, checked on the packages in ``cwd``."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def test_the_import_contracts_of_pyproject_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_an_import_for_type_checking_only_breaks_a_contract_too(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file = tmp_path / "sweeps" / "spec" / "problems.py"
    late = "\nif TYPE_CHECKING:\n    from sweeps.planning.plan import Plan\n"
    file.write_text(f"{file.read_text()}\nfrom typing import TYPE_CHECKING\n{late}")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "sweeps.spec.problems -> sweeps.planning.plan" in done.stdout


def test_imports_of_every_form_are_found(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(
        "import ray.tune as rt\ndef f():\n    from sweeps import plan, spec as s\n    import os, yaml\n"
    )
    assert sorted(imports(file)) == ["os", "ray.tune", "sweeps.plan", "sweeps.spec", "yaml"]


def test_trainables_does_not_import_ray_tune() -> None:
    """Contracts name external packages by their top level only, and Ray itself is allowed."""
    found = [
        f"{path}: {name}" for path in modules("trainables") for name in imports(path) if "ray.tune" in name
    ]
    assert len(modules("trainables")) > 5
    assert found == []


@pytest.mark.parametrize("module", ["reports", "reports.write", "trainables.results"])
def test_reports_work_without_torch_and_ray(module: str) -> None:
    code = f"import sys, {module}; print([n for n in ('torch', 'ray', 'transformers') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_planning_needs_no_torch() -> None:
    code = (
        "import sys, sweeps.planning.plan; print([name for name in ('torch', 'ray') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_tokenizing_rows_imports_nothing_that_runs_models() -> None:
    """It would take every plan and the preview of every run as many seconds again."""
    models = ("torch._dynamo", "transformers.modeling_utils", "accelerate", "peft")
    code = f"import sys, trainables.trial.preview; print([name for name in {models} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_sweeps_is_this_package_and_not_the_one_on_pypi() -> None:
    import sweeps

    assert sweeps.__file__ is not None
    assert Path(sweeps.__file__).is_relative_to(ROOT)


def test_help_takes_little_longer_than_what_it_cannot_do_without() -> None:
    """At most two and a half times the processor time of importing the libraries that print it."""
    libraries = [
        sys.executable,
        "-c",
        "import typer, rich.console, rich.table, rich.panel, asyncio, email.message",
    ]
    command = [sys.executable, "-c", "from sweeps.cli import main; main()", "--help"]
    assert "run" in subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    yardstick, seconds = [], []
    for _ in range(5):  # in turn, since other processes may hold up all of them
        yardstick.append(processor_seconds(libraries))
        seconds.append(processor_seconds(command))
    assert min(seconds) < 2.5 * min(yardstick)


def processor_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
