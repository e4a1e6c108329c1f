"""Methods of one's own in a spec: how they are found, checked, named and planned, and what is said where they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sweeps.execution.run_folder import check_resumable, prepare
from sweeps.spec.problems import SpecError
from tests.helpers.own_methods import KIND, example
from tests.helpers.specs import ONE, SPEC, own_spec_folder, plan, problems
from trainables.methods import LoRA
from trainables.methods.own_method import OwnMethod
from trainables.trial.config import TrialConfig
from trainables.trial.staged_inputs import StagedInputs

OWN = SPEC.replace(ONE, '  - {kind: "norms:NormTuning", layers: {int: [1, 2]}}\n')
AT = "spec.yaml:6 methods[0].kind: "
PACKAGE = """\
from .sizes import BASE
from my_methods.sizes import BASE as same
from trainables.methods.lora import LoRA


class Wide(LoRA):
    width: int = BASE
"""


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = own_spec_folder(tmp_path, monkeypatch)
    (folder / "norms.py").write_text(example()[0])
    return folder


def errors(folder: Path, text: str, *sets: str) -> list[str]:
    return [str(each).replace(f"{folder}/", "") for each in plan(folder, text, sets).errors]


def test_a_class_beside_the_spec_is_a_method_like_any_other(workdir: Path) -> None:
    planned = plan(workdir, OWN)
    assert planned.errors == ()
    (cell,) = planned.cells
    assert (cell.name, cell.method) == ("sft-NormTuning", "NormTuning")
    assert list(cell.space) == ["method.layers", "train.learning_rate"]
    assert cell.prior()["method.layers"] == 2
    method = cell.first().method
    assert (method.layers, method.part, method.method_path) == (1, "norms", workdir / "norms.py")


def test_the_plan_says_which_code_it_ran(workdir: Path) -> None:
    (note,) = [note for note in plan(workdir, OWN).notes if "code of yours" in note]
    assert note.startswith(
        f"norms:NormTuning is code of yours, not Paretune's: {workdir / 'norms.py'} (SHA-256 "
    )
    assert not [note for note in plan(workdir, SPEC).notes if "code of yours" in note]


def test_its_options_are_compared_and_name_the_cells(workdir: Path) -> None:
    text = OWN.replace("layers: {int: [1, 2]}", "part: {compare: [norms, attention]}")
    assert [cell.name for cell in plan(workdir, text).cells] == [
        "sft-NormTuning-norms",
        "sft-NormTuning-attention",
    ]
    assert [cell.name for cell in plan(workdir, OWN.replace("layers:", "name: mine, layers:")).cells] == [
        "sft-mine"
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "layers:",
            "lyers:",
            "spec.yaml:6 methods[0].lyers: unknown key. Did you mean layers? Allowed: name, layers, part, kind, model, "
            "data, ... (9 keys)",
        ),
        (
            "{int: [1, 2]}",
            "many",
            'spec.yaml:6 methods[0].layers: got the text "many"; allowed: a whole number, at least 1',
        ),
        (
            "{int: [1, 2]}",
            "{choice: [0, 1]}",
            "spec.yaml:6 methods[0].layers: choice [0, 1] contains 0; allowed: a whole number, at least 1",
        ),
        ("[1, 2]", "[1, 3]", "spec.yaml:6 methods[0].layers: the model has 2 layers"),
        ("layers: {int: [1, 2]}", "part: norm", "spec.yaml:6 methods[0].part: got norm. Did you mean norms? Allowed: "
         "one of norms, attention"),
        ("layers:", "holds_base: false, layers:", "spec.yaml:6 methods[0].holds_base: unknown key; planning sets "
         "holds_base. Leave it out"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_reported_at_its_line(workdir: Path, old: str, new: str, message: str) -> None:
    assert errors(workdir, OWN.replace(old, new)) == [message]


@pytest.mark.parametrize(
    ("kind", "module", "message"),
    [
        (
            "nroms:NormTuning",
            "",
            "there is no module nroms beside the spec (nroms.py, or the folder nroms with __init__.py), and none of "
            "that name is installed",
        ),
        ("norms:NormTunin", "", "norms, in norms.py, has no class NormTunin. Did you mean NormTuning?"),
        (
            "norms:Literal",
            "",
            "Literal of norms, in norms.py, is no method: derive it from trainables.methods.base.FineTuning",
        ),
        (
            "json:dumps",
            "",
            "dumps of json is no method: derive it from trainables.methods.base.FineTuning",
        ),
        (
            "my norms:N",
            "",
            "my norms:N names no class; write module:Class, as in my_package.my_method:MyMethod",
        ),
        (
            "other:Method",
            "1 / 0",
            "other, in other.py, can't be imported: ZeroDivisionError: division by zero",
        ),
        (
            "other:Method",
            "raise SystemExit(3)",
            "other, in other.py, can't be imported: SystemExit: 3",
        ),
        (
            "other:Method",
            "import norms",
            "other, in other.py, can't be imported: ModuleNotFoundError: No module named 'norms'. Only other.py "
            "belongs to the method: put norms and the method into one package, a folder with __init__.py",
        ),
        (
            "other:Method",
            "import no_such_module_here",
            "other, in other.py, can't be imported: ModuleNotFoundError: No module named 'no_such_module_here'. "
            "Install no_such_module_here, on all machines of the sweep",
        ),
        (
            "other:Method",
            "from trainables.methods.base import FineTuning\nclass Method(FineTuning): ...",
            "Method of other, in other.py, lacks attach, save of trainables.methods.base.FineTuning",
        ),
        (
            "other:Method",
            "from trainables.methods import LoRA\nclass Method(LoRA):\n    data: int = 1",
            "Method of other, in other.py, has the option data, which means something else in a spec; rename it",
        ),
    ],
)
def test_a_class_that_can_not_be_used_is_an_error_at_its_place(
    workdir: Path, kind: str, module: str, message: str
) -> None:
    (workdir / "other.py").write_text(module)
    (error,) = errors(workdir, OWN.replace(KIND, kind).replace(", layers: {int: [1, 2]}", ""))
    assert error == AT + message


def test_a_module_with_the_name_of_an_installed_one_is_refused(workdir: Path) -> None:
    (workdir / "json.py").write_text(example()[0])
    (error,) = errors(workdir, OWN.replace("norms:", "json:"))
    assert error.startswith(f"{AT}json.py has the name of another module, ")
    assert error.endswith("json/__init__.py; rename json.py, and the kind with it")


def test_a_package_beside_the_spec_imports_its_own_modules_and_is_one_hash(workdir: Path) -> None:
    package = workdir / "my_methods"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "wide.py").write_text(PACKAGE)
    (package / "sizes.py").write_text("BASE = 3\n")
    text = SPEC.replace(ONE, '  - {kind: "my_methods.wide:Wide", rank: 4}\n')
    first = plan(workdir, text).cells[0].first()
    assert isinstance(first.method, LoRA)
    assert (first.method.width, first.method.method_path) == (3, package)
    (package / "sizes.py").write_text("BASE = 5\n")  # of the same size, within the same second
    second = plan(workdir, text).cells[0].first()
    assert second.method.width == 5
    assert first.trial_id() != second.trial_id()
    assert not list(package.rglob("__pycache__"))


def test_nothing_beside_the_spec_is_imported_unless_the_spec_names_it(workdir: Path) -> None:
    (workdir / "torch.py").write_text("raise SystemExit('run')\n")
    assert errors(workdir, OWN) == []


def test_its_id_depends_on_its_code_and_not_on_where_that_is(workdir: Path) -> None:
    first = plan(workdir, OWN).cells[0].first()
    moved = first.method.model_copy(update={"method_path": workdir / "elsewhere" / "norms.py"})
    assert first.model_copy(update={"method": moved}).trial_id() == first.trial_id()
    (workdir / "norms.py").write_text(f"{example()[0]}\n# changed\n")
    assert plan(workdir, OWN).cells[0].first().trial_id() != first.trial_id()


def test_a_run_is_not_resumed_with_other_code(workdir: Path) -> None:
    prepare(plan(workdir, OWN), workdir / "run", resume=False)
    check_resumable(plan(workdir, OWN), workdir / "run", resume=True)
    (workdir / "norms.py").write_text(f"{example()[0]}\n# changed\n")
    with pytest.raises(
        SpecError, match="the code of norms:NormTuning is not what this run was started with"
    ) as found:
        check_resumable(plan(workdir, OWN), workdir / "run", resume=True)
    assert found.value.problems[0].line == 6


def test_each_method_with_other_code_is_named_at_its_line(workdir: Path) -> None:
    code = f"{example()[0]}\n\nclass NormTuningMore(NormTuning):\n    pass\n"
    text = OWN.replace("  - {kind", '  - {kind: "norms:NormTuningMore"}\n  - {kind', 1)
    (workdir / "norms.py").write_text(code)
    prepare(plan(workdir, text), workdir / "run", resume=False)
    (workdir / "norms.py").write_text(f"{code}\n# changed\n")
    with pytest.raises(SpecError) as found:
        check_resumable(plan(workdir, text), workdir / "run", resume=True)
    lines = {problem.what.split()[3]: problem.line for problem in found.value.problems}
    assert lines == {"norms:NormTuningMore": 6, "norms:NormTuning": 7}


def test_a_run_that_began_with_an_installed_module_is_not_resumed_with_one_beside_the_spec(
    workdir: Path,
) -> None:
    prepare(plan(workdir, OWN), workdir / "run", resume=False)
    kept = workdir / "run" / "environment.json"
    environment = json.loads(kept.read_text())
    del environment["plan"]["method_code"]  # as of a module that is installed
    kept.write_text(json.dumps(environment))
    with pytest.raises(SpecError, match="norms:NormTuning as it is installed, and now there is a module"):
        check_resumable(plan(workdir, OWN), workdir / "run", resume=True)


def test_its_code_goes_to_nodes_that_lack_it(workdir: Path) -> None:
    from sweeps.execution.input_files import find_input_files

    (workdir / "my_methods" / "deep").mkdir(parents=True)
    (workdir / "my_methods" / "wide.py").write_text(
        PACKAGE.replace("my_methods.sizes", "my_methods.deep.sizes")
    )
    for name in ("sizes.py", "deep/sizes.py"):
        (workdir / "my_methods" / name).write_text("BASE = 3\n")
    (workdir / "my_methods" / "secrets.txt").write_text("not code")
    config = plan(workdir, SPEC.replace(ONE, '  - {kind: "my_methods.wide:Wide"}\n')).cells[0].first()
    (inputs,) = [each for each in find_input_files([config]) if each.key == str(workdir / "my_methods")]
    assert sorted(path.name for path, _ in inputs.files.values()) == ["sizes.py", "sizes.py", "wide.py"]
    run = workdir / "run"
    for name, (path, _) in inputs.files.items():
        (run / "given" / name).parent.mkdir(parents=True, exist_ok=True)
        (run / "given" / name).write_bytes(path.read_bytes())
    (run / "given.json").write_text(json.dumps({"url": None, "paths": {inputs.key: inputs.to_json()}}))
    (workdir / "my_methods").rename(workdir / "gone")
    local = StagedInputs.read(run).local_config(config)
    assert local.method.method_path == run / "given" / inputs.copy_path
    assert local.trial_id() == config.trial_id()
    assert local.with_own_code() == local


def test_checks_of_a_class_that_fail_are_an_error_and_no_stack_trace(workdir: Path) -> None:
    (workdir / "norms.py").write_text(example()[0].replace("if self.layers >", "if self.layer >"))
    (error,) = set(errors(workdir, OWN))
    assert error.startswith(f"{AT}the checks of norms:NormTuning fail: AttributeError: ")


def test_two_classes_of_one_name_have_cells_of_two_names(workdir: Path) -> None:
    (workdir / "other.py").write_text(example()[0])
    text = SPEC.replace(ONE, '  - {kind: "norms:NormTuning"}\n  - {kind: "other:NormTuning"}\n')
    names = [cell.name for cell in plan(workdir, text).cells]
    assert len(set(names)) == 2
    assert all(name.startswith("sft-NormTuning-") and "/" not in name and ":" not in name for name in names)


def test_a_config_that_is_read_imports_nothing_and_keeps_every_setting(workdir: Path) -> None:
    config = plan(workdir, OWN).cells[0].first()
    foreign = json.loads(
        json.dumps(config.model_dump(mode="json")).replace(config.method.method_sha256, "0" * 64)
    )
    read = TrialConfig.model_validate(foreign)
    assert isinstance(read.method, OwnMethod)
    assert read.model_dump(mode="json") == foreign
    assert read.method.label == "NormTuning"


def test_no_warning_says_that_a_setting_has_no_effect(workdir: Path) -> None:
    assert not [each for each in problems(workdir, OWN) if "no effect" in each]
