"""The precision that a spec leaves out, by what the GPUs compute; a resumed run keeps what it had.

The GPUs are the tests' own; everything else is real.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.cluster import remote_tasks
from sweeps.cluster.packing import Machine
from sweeps.commands.run import Sweep
from sweeps.execution.run_folder import prepare
from sweeps.execution.run_options import RunOptions
from sweeps.planning.plan import Plan
from sweeps.spec.problems import SpecError
from sweeps.spec.spec import read
from tests.helpers.places import place
from tests.helpers.specs import SPEC, own_spec_folder, plan
from trainables.system import capabilities, machine
from trainables.system.byte_sizes import GIB

Gpus = Callable[..., None]
TURING, AMPERE, HOPPER = (7, 5), (8, 0), (9, 0)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own_spec_folder(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def machine_with(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    """Gives this machine GPUs of these compute capabilities, on which what is asked for by name works."""

    def give(*gpus: tuple[int, int]) -> None:
        monkeypatch.setattr(machine, "gpu_memory_bytes", lambda: [16 * GIB] * len(gpus))
        monkeypatch.setattr(machine, "gpu_capabilities", lambda: list(gpus))

        def check(name: str) -> capabilities.Capability:
            lacks = name == "bf16" and gpus and min(gpus) < capabilities.BF16_CAPABILITY
            return capabilities.Capability(
                name, not lacks, "has no bf16; use precision: fp16" if lacks else ""
            )

        monkeypatch.setattr(capabilities, "check_capability", check)

    return give


def computed_in(planned: Plan) -> list[tuple[str, str]]:
    assert planned.errors == ()
    return [(config.train.precision, config.model.dtype) for config in planned.first_configs]


def notes(planned: Plan) -> list[str]:
    return [note for note in planned.notes if "precision is not given" in note]


@pytest.mark.parametrize("gpus", [(), (AMPERE,), (HOPPER, AMPERE)])
def test_trials_train_in_bf16_on_cpus_and_on_gpus_that_have_it(
    workdir: Path, machine_with: Gpus, gpus: tuple[tuple[int, int], ...]
) -> None:
    machine_with(*gpus)
    planned = plan(workdir)
    assert computed_in(planned) == [("bf16", "bfloat16")] * 2
    assert notes(planned) == []
    assert planned.resolved()["train"]["precision"] == "bf16"


@pytest.mark.parametrize("gpus", [(TURING,), (HOPPER, TURING)])
def test_trials_train_in_fp16_where_a_gpu_has_no_bf16_and_the_plan_says_why(
    workdir: Path, machine_with: Gpus, gpus: tuple[tuple[int, int], ...]
) -> None:
    machine_with(*gpus)
    planned = plan(workdir)
    assert computed_in(planned) == [("fp16", "float16")] * 2
    assert notes(planned) == [
        "train.precision is not given: on GPUs trials train in fp16 with loss scaling, from weights in float16 (with "
        "train.sharding in fp32), as this machine has a GPU without bf16 (compute capability 7.5)"
    ]
    assert planned.resolved()["train"]["precision"] == "fp16"
    assert planned.resolved()["model"]["dtype"] == "float16"


def test_cells_on_the_cpu_keep_their_trial_ids(workdir: Path, machine_with: Gpus) -> None:
    machine_with()
    before = [config.trial_id() for config in plan(workdir).first_configs]
    machine_with(TURING)
    mixed = plan(workdir, SPEC.replace("{kind: full}", "{kind: full, resources: {gpus: 0}}"))
    ids = [config.trial_id() for config in mixed.first_configs]
    assert ids[0] == before[0]
    assert ids[1] != before[1]
    assert [
        config.trial_id() for config in plan(workdir, SPEC, ("resources.gpus=0",)).first_configs
    ] == before


def test_what_the_spec_gives_stays(workdir: Path, machine_with: Gpus) -> None:
    machine_with(TURING)
    planned = plan(workdir, SPEC, ("train.precision=fp32",))
    assert computed_in(planned) == [("fp32", "bfloat16")] * 2
    assert notes(planned) == []
    of_entry = plan(workdir, SPEC.replace("{kind: full}", "{kind: full, train: {precision: fp32}}"))
    assert computed_in(of_entry) == [("fp32", "bfloat16"), ("fp16", "float16")]
    assert computed_in(plan(workdir, SPEC, ("model.dtype=float32",))) == [("fp16", "float32")] * 2


@pytest.mark.parametrize("precision", ["bf16", "pure_bf16"])
def test_bf16_by_name_on_a_gpu_without_it_is_an_error_that_names_fp16(
    workdir: Path, machine_with: Gpus, precision: str
) -> None:
    machine_with(TURING)
    problem = plan(workdir, SPEC, (f"train.precision={precision}",)).errors[0]
    assert problem.path == "train.precision"
    assert "use precision: fp16" in problem.what


def test_shared_weights_train_in_fp32_where_loss_scaling_does_not_support_them(
    workdir: Path, machine_with: Gpus
) -> None:
    machine_with(TURING, TURING)
    planned = plan(workdir, SPEC, ("train.sharding=fsdp", "resources.workers=2"))
    assert computed_in(planned) == [("fp32", "bfloat16")] * 2
    resolved = planned.resolved()
    assert (resolved["train"]["precision"], resolved["model"]["dtype"]) == ("fp32", "bfloat16")


def test_on_a_cluster_its_nodes_decide_and_are_asked_only_where_it_matters(workdir: Path) -> None:
    asked = []

    def nodes(*capabilities: tuple[int, int] | None) -> list[Machine]:
        asked.append(capabilities)
        return [Machine(str(n), 4, 1, None, 16 * GIB, each) for n, each in enumerate(capabilities)]

    given = ("resources.gpus=1", "resources.cpus=1", "resources.concurrent=1")

    def planned(*capabilities: tuple[int, int] | None, sets: tuple[str, ...] = given) -> Plan:
        there = place(is_cluster=True)
        return plan(
            workdir, SPEC, sets, local=False, place=there.__class__("c", lambda: nodes(*capabilities), True)
        )

    assert computed_in(planned(AMPERE, None)) == [("bf16", "bfloat16")] * 2
    assert computed_in(planned(AMPERE, TURING)) == [("fp16", "float16")] * 2
    asked.clear()
    planned(TURING, sets=(*given, "train.precision=fp16"))
    assert asked == []


def resumed(workdir: Path, *sets: str) -> Plan:
    """The plan with which ``run --resume`` continues the run in ``runs/tiny``."""
    options = RunOptions(str(workdir / "runs"), resume=True)
    sweep = Sweep.plan_spec(read(workdir / "spec.yaml", sets), options, lambda *_: [])  # type: ignore[arg-type]
    prepare(sweep.plan, sweep.location.folder, resume=True)
    return sweep.plan


def test_a_resumed_run_keeps_the_precision_that_it_began_with(workdir: Path, machine_with: Gpus) -> None:
    machine_with(TURING)
    prepare(plan(workdir), workdir / "runs" / "tiny", resume=False)
    machine_with(HOPPER)
    for _ in range(2):  # the second session reads what the first one has written
        assert computed_in(resumed(workdir)) == [("fp16", "float16")] * 2
    with pytest.raises(SpecError, match=r"this run was started with fp16, and it is bf16 now"):
        resumed(workdir, "train.precision=bf16")


def test_a_run_of_shared_weights_goes_on_whose_resolved_spec_says_fp16_as_earlier_versions_wrote(
    workdir: Path, machine_with: Gpus
) -> None:
    machine_with(TURING, TURING)
    sets, run = ("train.sharding=fsdp", "resources.workers=2"), workdir / "runs" / "tiny"
    prepare(plan(workdir, SPEC, sets), run, resume=False)
    resolved, environment = run / "resolved.yaml", run / "environment.json"
    resolved.write_text(resolved.read_text().replace("precision: fp32", "precision: fp16"))
    recorded = json.loads(environment.read_text())
    recorded["plan"]["fingerprint"] = "of fp16"
    environment.write_text(json.dumps(recorded))
    assert "precision: fp16" in resolved.read_text()
    assert computed_in(resumed(workdir, *sets)) == [("fp32", "bfloat16")] * 2


def test_a_run_of_an_earlier_version_goes_on_in_bf16(workdir: Path, machine_with: Gpus) -> None:
    machine_with(HOPPER)
    run = workdir / "runs" / "tiny"
    prepare(plan(workdir), run, resume=False)
    environment = json.loads((run / "environment.json").read_text())
    del environment["plan"]["precision"]
    (run / "environment.json").write_text(json.dumps(environment))
    assert computed_in(resumed(workdir)) == [("bf16", "bfloat16")] * 2


def test_a_nodes_gpus_are_read_from_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        '#!/bin/sh\ncase "$1" in *memory*) printf "15360\\n[N/A]\\n";; *) printf "7.5\\n[N/A]\\n";; esac\n'
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert remote_tasks.gpu_facts("node") == ([15360 * 2**20], [TURING])
