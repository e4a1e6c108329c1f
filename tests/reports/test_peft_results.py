"""Result files of PEFT's comparison beside a report: others' measurements, which no part of it takes into account."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from reports.analysis.peft_results import MOST_BYTES, read_peft_results
from reports.pages import page, summary
from reports.pages.report import build_report, report_values
from reports.plots.figures import draw_figures
from tests.helpers.claimed_runs import BETTER, make_run
from trainables.results import read_run

# A folder with the files of PEFT's method_comparison/MetaMathQA/results, where there is one.
PUBLISHED = os.environ.get("PEFT_RESULTS")
HOSTILE = "<script>alert(1)</script> | ](javascript:x) \x1b[31m\u202e"


def result_file(
    name: str = "lora/llama-3.2-3B-rank32", accuracy: Any = 0.478, **train: Any
) -> dict[str, Any]:
    """A result as PEFT writes it, as far as it is read."""
    metrics = [{"step": 250, "valid accuracy": 0.32}, {"test accuracy": accuracy, "forgetting": 0.05}]
    return {
        "run_info": {
            "created_at": "2026-07-15T05:41:18+00:00",
            "experiment_name": name,
            "train_config": {
                "model_id": "meta-llama/Llama-3.2-3B", "seed": 0, "max_steps": 5000, "batch_size": 4,
                "optimizer_kwargs": {"lr": 0.0001, "weight_decay": 0.1},
            },
            "peft_config": {"peft_type": "LORA", "r": 32},
        },
        "train_info": {
            "status": "success", "accelerator_memory_max": 22_292_725_760, "train_time": 941.9,
            "file_size": 36_715_216, "num_trainable_params": 9_175_040, "metrics": metrics, **train,
        },
        "meta_info": {},
    }  # fmt: skip


def write(folder: Path, **files: Any) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def test_a_result_file_is_read_and_the_best_accuracy_is_first(tmp_path: Path) -> None:
    full = result_file("full", 0.5)
    full["run_info"]["peft_config"] = None
    found = read_peft_results(write(tmp_path / "peft", a=result_file(), b=full))
    best, lora = found.results
    assert (best.method, best.accuracy) == ("full fine-tuning", 0.5)
    assert (lora.method, lora.peak_bytes, lora.learning_rate, lora.steps) == (
        "LORA",
        22_292_725_760,
        0.0001,
        5000,
    )
    assert found.left_out == ()
    assert found.models == ("meta-llama/Llama-3.2-3B",)


def test_files_that_are_damaged_or_of_others_are_named_and_left_out(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "peft",
        a_good=result_file(),
        b_cut='{"run_info": {',
        c_deep="[" * 100_000,
        d_other={"name": "package"},
        e_failed=result_file(status="failed"),
        f_huge=result_file(accuracy=1e300),
        g_nan=json.dumps(result_file()).replace("0.478", "NaN"),
        h_text=result_file(train_time="soon"),
        i_no_metrics=result_file(metrics=[]),
        j_list="[]",
    )
    (folder / "k_notes.txt").write_text("hello")
    (folder / "l_folder").mkdir()
    os.mkfifo(folder / "m_pipe.json")
    with (folder / "n_large.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    (folder / ".hidden").write_text("")
    found = read_peft_results(folder)
    assert len(found.results) == 1
    named = [sentence.partition(":")[0] for sentence in found.left_out]
    assert [name[0] for name in named] == list("bcdefghijklmn")
    assert "k_notes.txt: it is no JSON" in found.left_out
    assert any("train_info.status" in sentence for sentence in found.left_out)
    assert not any("soon" in sentence for sentence in found.left_out)


def test_a_folder_without_any_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no result file"):
        read_peft_results(write(tmp_path / "peft", a="{}"))
    with pytest.raises(ValueError, match="is no folder"):
        read_peft_results(tmp_path / "absent")


def test_hostile_texts_are_shown_as_texts(tmp_path: Path) -> None:
    folder = write(tmp_path / "peft", a=result_file(HOSTILE), **{"<img src=x>": "{"})
    run = read_run(make_run(tmp_path / "run", BETTER))
    report = build_report([run], (), read_peft_results(folder))
    html = page.index_page(report, draw_figures(report.trained_groups))
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<img" not in html
    assert "\x1b" not in html
    text = summary.summary(report)
    assert "<script" not in text
    assert "](javascript" not in text
    assert "\\|" in text


def test_nothing_else_in_a_report_is_about_others_measurements(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", BETTER))
    others = read_peft_results(write(tmp_path / "peft", a=result_file(), b=result_file("full", 0.9)))
    alone, beside = report_values(build_report([run])), report_values(build_report([run], (), others))
    found = beside.pop("peft_results")
    assert alone.pop("peft_results") is None
    assert beside == alone
    assert [each["experiment"] for each in found["results"]] == ["full", "lora/llama-3.2-3B-rank32"]
    assert found["note"].startswith("None of this was measured by Paretune. 2 result files of PEFT's ")
    text = summary.summary(build_report([run], (), others))
    assert "## Measured by others: PEFT's comparison of methods" in text
    assert "Measured by others" not in summary.summary(build_report([run]))


@pytest.mark.skipif(not PUBLISHED, reason="PEFT_RESULTS names no folder with PEFT's result files")
def test_the_published_files_are_read_whole() -> None:
    assert PUBLISHED is not None
    found = read_peft_results(Path(PUBLISHED))
    assert (len(found.results), found.left_out) == (63, ())
    lora = next(each for each in found.results if each.experiment == "lora/llama-3.2-3B-rank32")
    assert lora.accuracy == pytest.approx(0.4784, abs=1e-4)
