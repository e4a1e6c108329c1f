"""The import law: who may know whom (DESIGN.md, section 1), and what must stay quick to import."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

PACKAGES = ("trainables", "sweeps", "reports")
# Besides the command line, W&B's summary run: it carries the comparison table and the front.
MAY_IMPORT_REPORTS = ("sweeps/cli.py", "sweeps/tracking/wandb_process.py")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The full names of all that a file imports, wherever in it: ``ray.tune``, ``trainables.results``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who knows whom"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def breaches(package: str, *forbidden: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """``file: import`` for every import of what is forbidden."""
    return [
        f"{path.relative_to(ROOT)}: {name}"
        for path in modules(package)
        for name in imports(path)
        if is_within(name, *forbidden) and not is_within(name, *allowed)
    ]


def test_the_walk_sees_imports_of_every_form(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(
        "import ray.tune as rt\ndef f():\n    from sweeps import plan, spec as s\n    import os, yaml\n"
    )
    assert sorted(imports(file)) == ["os", "ray.tune", "sweeps.planning.plan", "sweeps.spec.spec", "yaml"]


def test_there_are_files_to_look_at() -> None:
    assert all(len(modules(package)) > 5 for package in PACKAGES)


def test_trainables_imports_neither_sibling() -> None:
    assert breaches("trainables", "sweeps", "reports") == []


def test_trainables_knows_nothing_of_yaml_optuna_or_tune() -> None:
    assert breaches("trainables", "yaml", "ruamel", "optuna", "ray.tune") == []


def test_reports_imports_only_the_results_of_trainables() -> None:
    assert breaches("reports", "sweeps") == []
    assert breaches("reports", "trainables", allowed=("trainables.results",)) == []


def test_reports_imports_neither_torch_nor_ray() -> None:
    assert breaches("reports", "torch", "ray", "transformers") == []


def test_the_command_line_is_where_all_three_meet() -> None:
    found = {line.partition(":")[0] for line in breaches("sweeps", "reports")}
    assert "sweeps/cli.py" in found
    assert found <= set(MAY_IMPORT_REPORTS)


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


def test_sweeps_is_ours_and_not_the_package_of_that_name_on_pypi() -> None:
    import sweeps

    assert sweeps.__file__ is not None
    assert Path(sweeps.__file__).is_relative_to(ROOT)


def test_help_takes_under_a_second() -> None:
    """The best of three: other processes may be busy."""
    command = [sys.executable, "-c", "from sweeps.cli import main; main()", "--help"]
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        found = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        seconds.append(time.perf_counter() - started)
        assert "run" in found.stdout
    assert min(seconds) < 1.0
