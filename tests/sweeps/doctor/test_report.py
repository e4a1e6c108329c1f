"""The doctor: what this machine can do, and what to do about what is missing."""

from __future__ import annotations

import importlib.metadata
import io
import itertools
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from sweeps.cluster import remote_tasks, session, shared_folder
from sweeps.doctor import report as doctor_report
from sweeps.doctor.cluster_report import ClusterReport, Finding, NodeReport
from sweeps.doctor.report import Report
from sweeps.doctor.unavailable import NEEDED_FOR
from sweeps.spec.schema import SECTION_CLASSES
from tests.helpers.allowed_values import values_of
from tests.helpers.paths import ROOT
from trainables.methods import QLoRA
from trainables.system import capabilities, machine, tested_versions
from trainables.system.capabilities import Capability

WORKS = Capability("sdpa", True, "part of torch")
OPTIONAL = Capability("liger", False, "needs a GPU", needed=False)
MISSING = Capability("trl", False, "not installed: pip install 'trl<1.17,>=1.16'")


def test_this_machine_has_everything_paretune_needs_and_no_library_prints_anything() -> None:
    code = "from sweeps.doctor import report; print(report.examine().to_json())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["works"]
    topics = "Machine Quantizers Attention Kernels Optimizers Precision Search Tracking Packages"
    assert list(report["topics"]) == topics.split()
    assert all(found["detail"] for topic in report["topics"].values() for found in topic)


@pytest.mark.parametrize(
    ("found", "code"), [([WORKS], 0), ([WORKS, OPTIONAL], 0), ([WORKS, OPTIONAL, MISSING], 1)]
)
def test_only_what_is_needed_and_missing_makes_exit_code_1(found: list[Capability], code: int) -> None:
    report = Report({"Things": found})
    assert report.exit_code == code
    assert json.loads(report.to_json())["works"] is (code == 0)


def test_the_json_contains_every_capability() -> None:
    report = Report({"Packages": [MISSING], "Kernels": [OPTIONAL]})
    assert json.loads(report.to_json())["topics"] == {
        "Packages": [{"name": "trl", "works": False, "detail": MISSING.detail, "needed": True}],
        "Kernels": [{"name": "liger", "works": False, "detail": "needs a GPU", "needed": False}],
    }


def test_the_table_distinguishes_missing_from_optional_and_says_what_to_do() -> None:
    text = io.StringIO()
    report = Report({"Things": [WORKS, OPTIONAL, MISSING]})
    Console(file=text, width=120).print(report.table())
    lines = {line.split()[1]: line for line in text.getvalue().splitlines()[1:]}
    assert lines["sdpa"].startswith("ok")
    assert lines["liger"].startswith("no")
    assert lines["trl"].startswith("missing")
    assert "pip install 'trl<1.17,>=1.16'" in lines["trl"]
    assert report.verdict() == "Paretune can't work on this machine without: trl."


def test_every_dependency_of_the_project_is_examined() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert len(capabilities.packages()) == len(project["dependencies"])


@pytest.mark.parametrize(("version", "works"), [("1.16.3", True), ("1.17.0", False), ("1.15.9", False)])
def test_a_package_outside_its_range_does_not_count(
    monkeypatch: pytest.MonkeyPatch, version: str, works: bool
) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version if name == "trl" else real(name))
    trl = next(found for found in capabilities.packages() if found.name == "trl")
    assert trl.works is works
    assert works or ("pip install 'trl" in trl.detail and version in trl.detail)


def test_packages_of_other_versions_than_the_tested_ones_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "2.11.0" if name == "torch" else real(name)
    )
    *_, last = doctor_report.package_versions()
    tested = tested_versions.versions()["torch"]
    assert (last.name, last.works, last.needed) == ("tested with", True, False)
    assert f"torch {tested} (installed: 2.11.0)" in last.detail
    assert last.detail.endswith("; all others are the tested versions")
    assert "peft" not in last.detail


def test_a_missing_package_ends_the_examination_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "torch":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    made = doctor_report.examine()
    assert list(made.topics) == ["Packages"]
    assert [found.name for found in made.missing] == ["torch"]
    assert "not installed: pip install 'torch" in made.missing[0].detail


def test_a_quantizer_that_fails_is_no_capability() -> None:
    def broken() -> Any:
        raise RuntimeError("no kernel image\nmore of it")

    found = capabilities._try_layer("bitsandbytes 4-bit", broken)
    assert not found.works
    assert found.detail == "fails: RuntimeError: no kernel image"


def test_a_quantizer_with_wrong_results_is_no_capability() -> None:
    import torch

    class Wrong(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 3 * super().forward(x.float())

    found = capabilities._try_layer("bitsandbytes 4-bit", lambda: Wrong(64, 64, bias=False))
    assert not found.works
    assert "wrong results, off by 200%" in found.detail


@pytest.mark.parametrize("part", ["output", "gradient"])
def test_a_quantizer_whose_results_are_no_numbers_is_no_capability(part: str) -> None:
    import torch

    class Broken(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output = super().forward(x.float())
            if part == "output":
                return output * torch.nan
            output.register_hook(lambda gradient: gradient * torch.nan)
            return output

    found = capabilities._try_layer("bitsandbytes 4-bit", lambda: Broken(64, 64, bias=False))
    assert not found.works
    assert found.detail == "its results are not finite numbers; reinstall bitsandbytes"


def test_what_needs_a_complete_model_is_tested_with_a_small_one() -> None:
    assert capabilities._try_model("none", {}).works
    assert capabilities._try_model("eetq", {"attn_implementation": "sdpa"}).works
    broken = capabilities._try_model("eetq", {"attn_implementation": "nothing"})
    assert not broken.works
    assert broken.detail.startswith("fails: ")


def test_examining_does_not_change_the_state_of_the_random_generator() -> None:
    import torch

    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    capabilities.quantizers()
    assert torch.equal(torch.rand(3), wanted)


def test_liger_without_a_gpu_is_not_a_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "find_spec", lambda name: object())
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert capabilities.CHECKS["liger"]() == Capability("liger", False, "needs an NVIDIA GPU", needed=False)


@pytest.fixture
def no_wandb_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def test_wandb_without_a_key_stays_offline_and_never_asks(no_wandb_settings: Path) -> None:
    assert capabilities.wandb_key() is None
    assert "offline" in capabilities.wandb().detail
    assert not capabilities.wandb().needed


def test_a_wandb_key_is_found_in_the_environment_and_in_netrc(
    no_wandb_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_wandb_settings.write_text("machine wandb.example.com login user password from-netrc\n")
    assert capabilities.wandb_key() is None
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.com")
    assert capabilities.wandb_key() == "from-netrc"
    monkeypatch.setenv("WANDB_API_KEY", "from-environment")
    assert capabilities.wandb_key() == "from-environment"
    assert "online" in capabilities.wandb().detail
    assert "from-environment" not in capabilities.wandb().detail


def test_a_damaged_netrc_is_no_key(no_wandb_settings: Path) -> None:
    no_wandb_settings.write_text("machine\nnonsense")
    assert capabilities.wandb_key() is None


def test_wandb_mode_wins_over_a_key(no_wandb_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "key")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert capabilities.wandb().detail == "offline, as WANDB_MODE is set"


def test_a_missing_wandb_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "find_spec", lambda name: None)
    found = capabilities.wandb()
    assert (found.works, found.needed) == (False, False)


def test_a_cache_folder_that_cannot_be_written_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PARETUNE_HOME", str(tmp_path / "file"))
    found = machine.cache_folder()
    assert not found.works
    assert "set PARETUNE_HOME" in found.detail


def test_where_the_peak_cannot_be_reset_memory_is_reported_as_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(self: Path, text: str) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refused)
    found = machine.peak_memory()
    assert not found.works
    assert "not measured: needs Linux" in found.detail


AVX512 = "avx2 avx512f avx512bw avx512dq avx512vl"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (f"{AVX512} avx512_bf16 amx_bf16", "bfloat16 in hardware (avx512_bf16, amx_bf16)"),
        (AVX512, "no bfloat16 in hardware: torch converts it to 32 bits, by AVX-512"),
        ("avx2 fma", "no bfloat16 in hardware: Paretune computes products of it in 32 bits"),
    ],
)
def test_the_processor_is_said_to_compute_bfloat16_as_it_does(
    monkeypatch: pytest.MonkeyPatch, flags: str, words: str
) -> None:
    monkeypatch.setattr(machine, "_proc", lambda name: f"flags\t: {flags}\n" if name == "cpuinfo" else "")
    assert machine.processor().detail.endswith(f", {words}")


def test_the_words_on_bfloat16_agree_with_torch_on_this_processor() -> None:
    import torch

    from trainables.models.cpu_products import multiplies_in_32_bits

    assert ("Paretune computes" in machine.processor().detail) == multiplies_in_32_bits(torch.bfloat16)
    assert machine.multiplies_bf16_in_32_bits() == multiplies_in_32_bits(torch.bfloat16)


def test_the_machine_is_described_where_proc_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_proc", lambda name: "")
    assert "no bfloat16 in hardware" in machine.processor().detail
    assert machine.memory().detail == "not reported by this system"


def gpu(name: str = "NVIDIA A10G", capability: tuple[int, int] = (8, 6)) -> Any:
    return SimpleNamespace(name=name, total_memory=24 * 2**30, major=capability[0], minor=capability[1])


def nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Puts a program of that name, and nothing else, where programs are looked for."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_gpu_is_shown_with_its_memory_compute_capability_and_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, monkeypatch, "echo 'NVIDIA A10G, 550.54.15'")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda index: gpu())
    (found,) = machine.gpus()
    assert (found.name, found.detail) == ("GPU 0", "NVIDIA A10G, 24.0 GiB, compute capability 8.6")
    assert machine.nvidia_driver() == [Capability("NVIDIA driver", True, "550.54.15", needed=False)]


def test_gpus_that_the_driver_lists_and_torch_cannot_use_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, monkeypatch, "echo 'NVIDIA A10G, 550.54.15'")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", None)
    (found,) = machine.nvidia_driver()
    assert not found.works
    assert "550.54.15 lists NVIDIA A10G, but torch" in found.detail
    assert "is built without CUDA" in found.detail


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'no devices were found'; exit 9", "fails: no devices were found"),
        ("sleep 60", "does not answer"),
    ],
)
def test_a_broken_driver_is_reported_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    nvidia_smi(tmp_path, monkeypatch, script)
    monkeypatch.setattr(machine, "DRIVER_SECONDS", 0.5)
    (found,) = machine.nvidia_driver()
    assert not found.works
    assert message in found.detail


def test_without_a_driver_none_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.nvidia_driver() == []


def test_cpu_features_are_those_by_which_kernels_are_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_proc", lambda name: "flags\t\t: fpu avx2 avx512f amx_bf16 lahf_lm\n")
    assert machine.cpu_features().detail == "avx2, avx512f, amx_bf16"


def test_the_run_folder_need_not_exist_and_is_not_created(tmp_path: Path) -> None:
    found = machine.run_folder(tmp_path / "a" / "runs")
    assert found.works
    assert found.detail.startswith(f"{tmp_path}/a/runs, ")
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_without_free_space_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**29))
    found = machine.run_folder(tmp_path)
    assert not found.works
    assert found.detail == f"{tmp_path}: 0.5 GiB free; free some space or give another --output"


def test_the_wandb_server_is_contacted_only_with_a_key_and_not_in_offline_mode(
    no_wandb_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = of_wandb()[-1]
    assert (login.name, login.works) == ("W&B login", False)
    monkeypatch.setenv("WANDB_API_KEY", "secret-key")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert "secret-key" not in str(doctor_report.tracking())
    server = of_wandb()[-1]
    assert (server.name, server.works, server.needed) == ("W&B server", False, False)
    assert "runs stay offline" in server.detail
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert [(found.name, found.works) for found in of_wandb()] == [("wandb", True), ("W&B login", True)]


def of_wandb() -> list[Capability]:
    return [found for found in doctor_report.tracking() if found.name == "wandb" or "W&B" in found.name]


def test_each_tracker_is_listed_and_one_without_its_package_can_not_be_chosen(
    no_wandb_settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "trackio" else object())
    found = {each.name: each.works for each in doctor_report.tracking()}
    assert found.items() >= {"tensorboard": True, "mlflow": True, "swanlab": True, "trackio": False}.items()
    unavailable = Report({"Tracking": doctor_report.tracking()}).to_tree()["unavailable"]
    (trackio,) = (each for each in unavailable if each["setting"] == "tracking.trackio")
    assert (trackio["values"], trackio["capability"]) == (["local"], "trackio")
    assert "pip install 'paretune[trackio]'" in trackio["reason"]


def test_what_does_not_work_is_listed_by_setting_and_value_with_the_reason() -> None:
    four_bits = Capability("bitsandbytes 4-bit", False, "no kernel")
    report = Report({"Kernels": [OPTIONAL, WORKS], "Quantizers": [four_bits]})
    assert report.to_tree()["unavailable"] == [
        {
            "setting": "model.kernels",
            "values": ["liger"],
            "when": {},
            "capability": "liger",
            "reason": "needs a GPU",
        },
        {
            "setting": "methods[].backend",
            "values": ["bnb"],
            "when": {"bits": 4},
            "capability": "bitsandbytes 4-bit",
            "reason": "no kernel",
        },
    ]


def test_every_value_that_a_machine_may_lack_is_one_that_a_spec_takes() -> None:
    for values in itertools.chain.from_iterable(NEEDED_FOR.values()):
        section, _, key = values.setting.partition(".")
        cls = QLoRA if section == "methods[]" else SECTION_CLASSES[section]
        allowed = values_of(cls.model_fields[key].annotation)
        assert values.values is None or set(values.values) <= set(allowed), values.setting


# A cluster's nodes, without a cluster

PYTHON = Capability("python", True, "3.11.7")
TRL = Capability("trl", True, "1.16.0")


def member(name: str, packages: list[Capability], **topics: list[Capability]) -> NodeReport:
    return NodeReport(name, Report({**topics, "Packages": packages}), name, "10.0.0.1", name)


def cluster_report(*nodes: NodeReport) -> ClusterReport:
    return ClusterReport(Report({"Packages": [PYTHON, TRL]}), nodes)


def printed(found: ClusterReport, width: int = 140) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(found.table())
    return text.getvalue().splitlines()


def memory(free: float) -> Capability:
    return Capability("memory", True, f"{free} of 62.0 GiB free", needed=False)


def test_what_all_nodes_share_is_listed_once_and_what_is_specific_by_node() -> None:
    found = cluster_report(
        *(member(f"n{n}", [PYTHON, TRL], Machine=[WORKS, memory(n + 0.5)]) for n in range(10))
    )
    lines = printed(found)
    assert len([line for line in lines if " sdpa " in line]) == 1
    assert [line.split()[1:4] for line in lines[1:11]] == [[f"n{n}", "memory", f"{n}.5"] for n in range(10)]
    assert len(lines) < 20
    assert found.exit_code == 0
    assert "10 nodes, all alike." in found.verdict()


def test_a_node_that_lacks_what_is_needed_is_named_with_what_to_install() -> None:
    found = cluster_report(
        member("a", [PYTHON, TRL]), member("b", [PYTHON, MISSING]), member("c", [PYTHON, TRL])
    )
    assert found.exit_code == 1
    (missing,) = (line for line in printed(found) if MISSING.detail in line)
    assert missing.split()[:2] == ["missing", "trl"]
    assert missing.split()[-1] == "b"
    assert f"  b: trl: {MISSING.detail}" in found.verdict()
    assert "all but b" in "".join(printed(found))


def test_a_node_that_could_not_be_examined_is_named_with_the_reason_and_hides_nothing_of_the_others() -> None:
    why = Capability("examination", False, "no answer within 180 s")
    silent = NodeReport("b", Report({"Examination": [why]}))
    found = cluster_report(member("a", [PYTHON, TRL], Machine=[WORKS]), silent)
    assert found.exit_code == 1
    assert "  b: examination: no answer within 180 s" in found.verdict()
    (line,) = (line for line in printed(found) if " b " in line and "not examined" in line)
    assert line.startswith("missing")
    (sdpa,) = (line for line in printed(found) if " sdpa " in line)
    assert sdpa.rstrip().endswith(WORKS.detail)


def test_nodes_may_differ_in_hardware_and_the_differences_are_listed() -> None:
    a10, none = (
        Capability("GPU 0", True, "A10G", needed=False),
        Capability("GPU", False, "none", needed=False),
    )
    found = cluster_report(
        member("a", [PYTHON, TRL], Machine=[a10]),
        member("b", [PYTHON, Capability("trl", True, "1.16.1")], Machine=[none]),
    )
    assert found.exit_code == 0
    assert "2 nodes, which differ in: GPU 0, GPU, trl." in found.verdict()
    assert [difference["name"] for difference in json.loads(found.to_json())["differences"]] == [
        "GPU 0",
        "GPU",
        "trl",
    ]


@pytest.mark.parametrize("name", ["python", "paretune", "ray"])
def test_a_difference_in_what_must_match_makes_exit_code_1(name: str) -> None:
    one, other = Capability(name, True, "3.11.7"), Capability(name, True, "3.11.8")
    found = ClusterReport(Report({"Packages": [one]}), (member("a", [one]), member("b", [other])))
    assert (found.missing, found.exit_code) == ([], 1)
    assert f"{name} must be the same on the driver and on all nodes" in found.verdict()
    (difference,) = json.loads(found.to_json())["differences"]
    assert difference["breaks"] is True
    assert [group["nodes"] for group in difference["found"]] == [["a", "the driver"], ["b"]]


def test_another_size_of_the_error_of_a_quantizer_is_no_difference() -> None:
    near, far = (Capability("hqq", True, f"within {n}%", needed=False) for n in (1, 2))
    found = cluster_report(member("a", [PYTHON], Quantizers=[near]), member("b", [PYTHON], Quantizers=[far]))
    assert json.loads(found.to_json())["differences"][1:] == []


def test_the_json_of_a_cluster_contains_every_node_with_its_report() -> None:
    reported = json.loads(
        cluster_report(member("a", [PYTHON, TRL]), member("b", [PYTHON, MISSING])).to_json()
    )
    assert reported["works"] is False
    assert [(node["node"], node["works"]) for node in reported["nodes"]] == [("a", True), ("b", False)]
    assert reported["nodes"][1]["topics"]["Packages"][1]["detail"] == MISSING.detail
    assert reported["driver"]["works"] is True


def test_nodes_are_named_in_few_words() -> None:
    names = tuple("abcdefgh")
    message = [Finding("T", WORKS, names[:n], names).where() for n in (1, 3, 4, 7, 8)]
    assert message == ["a", "a, b, c", "a, b and 2 more", "all but h", "all nodes"]


def test_a_report_can_be_read_from_its_json() -> None:
    report = Report({"Packages": [MISSING], "Kernels": [OPTIONAL]})
    assert Report.from_json(report.to_json()) == report


def test_a_node_is_examined_by_a_process_that_prints_its_report_and_nothing_else() -> None:
    command = [sys.executable, "-m", "sweeps.doctor"]
    question = json.dumps({"names": ["eager"]})
    done = subprocess.run(command, input=question, capture_output=True, text=True, check=True, cwd=ROOT)
    report = Report.from_json(done.stdout)
    assert list(report.topics) == ["Packages", "Requested"]
    assert report.topics["Requested"][0].works


# The run folder, on nodes that are folders


def look(folder: Path, monkeypatch: pytest.MonkeyPatch, there: Path | None = None) -> Capability:
    """What is found of a node that sees ``there`` where the driver sees ``folder``."""
    node = session.Node("id", "host", "10.0.0.1", "host (10.0.0.1)", {})

    def ask(ray: Any, asked: list[Any], question: Any, path: str, token: str, patience: float) -> list[Any]:
        return [session.Answer(one, question(one.id, str(there or path), token)) for one in asked]

    monkeypatch.setattr(shared_folder, "ask", ask)
    monkeypatch.setattr(remote_tasks, "SEEN_SECONDS", 0.1)
    return shared_folder.examine(None, [node], folder)[node]


def test_a_shared_run_folder_is_found_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert look(tmp_path / "a" / "runs", monkeypatch).works
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_same_name_is_not_the_same_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    found = look(tmp_path / "runs", monkeypatch, tmp_path / "there")
    assert not found.works
    assert "mount shared storage there, or give --output a path that all nodes share" in found.detail
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_run_folder_that_the_driver_cannot_write_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    found = look(tmp_path / "file" / "runs", monkeypatch)
    assert not found.works
    assert "give another --output" in found.detail
