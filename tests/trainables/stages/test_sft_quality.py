"""By what sft judges answers: each measure by value, and a function of the user's that works, fails or has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers.trials import make_config, make_policy, write_rows
from trainables.data import loading
from trainables.data.loading import Data, Quality
from trainables.results import Record
from trainables.runner.run import TrialContext, run_trial
from trainables.scoring import generation
from trainables.stages import SFT
from trainables.stages.base import Scores
from trainables.storage import files
from trainables.training.policy import Policy
from trainables.trial.config import TrialConfig


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "rows.jsonl")


@pytest.fixture(scope="module")
def policy(tiny_model: Path, rows: Path) -> Policy:
    return make_policy(make_config(tiny_model, rows, None))


@pytest.fixture(scope="module")
def data(rows: Path) -> Data:
    return loading.load(make_config(Path("unused"), rows).data)


def score(policy: Policy, data: Data, quality: str | None, file: Path | None = None, **stage: Any) -> Scores:
    sha256 = files.file_sha256(file) if file is not None else None
    chosen = None if quality is None else Quality(quality, file, sha256)
    judged = replace(data, quality=chosen)
    scores = SFT(**stage).score(policy, judged, data.test, 128)
    name = SFT(**stage).quality(judged).name
    values, weights = [row.score for row in scores.rows], [row.weight or 1.0 for row in scores.rows]
    mean = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    assert scores.metrics[name] == pytest.approx(mean, rel=1e-6)
    return scores


def test_the_loss_is_the_quality_of_data_that_says_nothing(policy: Policy, data: Data) -> None:
    assert SFT().quality(data).name == SFT().quality(replace(data, quality=Quality("loss"))).name == "loss"
    assert score(policy, data, None) == score(policy, data, "loss")
    assert SFT().quality(replace(data, exact=True)).name == "exact_match"
    assert SFT().quality(replace(data, exact=True, quality=Quality("loss"))).name == "loss"


def test_rouge_and_chrf_are_those_of_their_libraries_by_row(
    policy: Policy, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics import CHRF

    # A model of two steps says nothing like its references: here are answers that share some of their words.
    partly = [" ".join([*row.answer.split()[number % 2 :], "now"]) for number, row in enumerate(data.test)]
    monkeypatch.setattr(generation, "generate_answers", lambda *_: partly)
    rouge, chrf = score(policy, data, "rouge_l"), score(policy, data, "chrf")
    scorer = RougeScorer(["rougeL"])
    for by_rouge, by_chrf in zip(rouge.rows, chrf.rows, strict=True):
        answer, expected = str(by_rouge.prediction), by_rouge.reference
        assert by_rouge.score == pytest.approx(scorer.score(expected, answer)["rougeL"].fmeasure)
        assert by_chrf.score == pytest.approx(CHRF().sentence_score(answer, [expected]).score)
    assert {"loss", "exact_match", "rougeL", "sentence_chrf"} <= rouge.metrics.keys()
    assert len({row.score for row in rouge.rows}) > 1


def test_exact_match_keeps_the_loss_beside_it_and_other_measures_keep_exact_match_by_row(
    policy: Policy, data: Data
) -> None:
    exact = score(policy, data, "exact_match")
    assert exact.metrics.keys() == {"loss", "exact_match"}
    assert {row.score for row in exact.rows} <= {0.0, 1.0}
    assert "exact_match" not in exact.columns()
    assert score(policy, data, "chrf").columns()["exact_match"] == [row.score for row in exact.rows]


def test_a_function_is_given_prompt_reference_and_answer(policy: Policy, data: Data, tmp_path: Path) -> None:
    file = tmp_path / "scores.py"
    file.write_text(
        "import helper\n"
        "def length(prompt, reference, answer):\n"
        "    return helper.SCALE * len(prompt[-1]['content']) + len(reference) / (1 + len(answer))\n"
    )
    (tmp_path / "helper.py").write_text("SCALE = 100\n")
    scores = score(policy, data, "scores:length", file)
    for row, given in zip(scores.rows, data.test, strict=True):
        answer = str(row.prediction)
        assert row.score == 100 * len(given.prompt[-1]["content"]) + len(given.answer) / (1 + len(answer))
    assert {"loss", "exact_match", "length"} == scores.metrics.keys()


def trial(
    tiny_model: Path, rows: Path, folder: Path, text: str, planned: str | None = None
) -> tuple[TrialConfig, Record]:
    """A trial that is judged by ``f`` of a file with this text; ``planned``: the text that it was planned with."""
    file = folder / "scores.py"
    file.write_text(planned or text)
    config = make_config(tiny_model, rows)
    data = {"quality": "scores:f", "quality_file": file, "quality_sha256": files.file_sha256(file)}
    config = config.model_copy(update={"data": config.data.model_copy(update=data)})
    file.write_text(text)
    return config, run_trial(config, TrialContext(folder / "run"), memory_gauge=None)


def test_a_trial_is_judged_by_the_users_function(tiny_model: Path, rows: Path, tmp_path: Path) -> None:
    config, record = trial(
        tiny_model, rows, tmp_path, "def f(prompt, reference, answer): return 2 * len(reference)\n"
    )
    assert (record.status, record.quality_name, record.quality_higher_is_better) == ("done", "f", True)
    table = pq.read_table(tmp_path / "run" / "trials" / config.trial_id() / "predictions.parquet").to_pylist()
    assert [row["score"] for row in table] == [2.0 * len(row["reference"]) for row in table]
    assert record.quality == sum(row["score"] for row in table) / len(table)


@pytest.mark.parametrize(
    ("text", "planned", "why"),
    [
        ("def f(prompt, reference, answer): return 1 / 0\n", None, "scores:f, row 0: ZeroDivisionError"),
        ("def f(prompt, reference, answer): exit()\n", None, "scores:f, row 0: SystemExit"),
        (
            "def f(prompt, reference, answer): return float('nan')\n",
            None,
            "row 0: returned nan; a score must be finite",
        ),
        ("raise OSError('no disk')\n", None, "scores.py can't be run (OSError: no disk)"),
        ("def f(*_): return 1\n", "def f(*_): return 2\n", "it has changed since this was planned"),
    ],
)
def test_a_function_that_fails_ends_the_trial_and_the_record_says_where(
    tiny_model: Path, rows: Path, tmp_path: Path, text: str, planned: str | None, why: str
) -> None:
    _, record = trial(tiny_model, rows, tmp_path, text, planned)
    assert record.status == "failed"
    assert why in str(record.error)
    # What can't be imported is found before the training, what fails on a row behind it.
    assert record.steps == (2 if "row 0" in why else None)
