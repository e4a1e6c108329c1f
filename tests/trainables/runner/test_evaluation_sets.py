"""A trial scores further evaluation sets by its stage, and running text by the loss per token."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from reports.analysis.changes import lost
from reports.analysis.comparison import compare
from tests.helpers.own_rows import write_lines
from tests.helpers.trials import make_config, make_policy, run, write_rows
from trainables import results
from trainables.data.loading import load
from trainables.data.rows import Text
from trainables.memory import measurement
from trainables.models import locate
from trainables.results import Record, read_record, set_file
from trainables.scoring.likelihood import log_likelihoods
from trainables.stages import Pretrain
from trainables.stages.set_scores import set_scorings
from trainables.trial.config import TrialConfig
from trainables.trial.tokenizer import tokenizer_of

TEXTS = ["once upon a time there was a king " * 12, "short", *(f"text {number}" for number in range(10))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sets")
    write_rows(path / "rows.jsonl")
    write_lines(path / "text.jsonl", [{"text": text} for text in TEXTS])
    write_lines(path / "general.jsonl", [{"prompt": f"other {n}", "completion": "cd"} for n in range(12)])
    return path


def with_sets(model: Path, folder: Path, method: str | None = "lora", **leaves: Any) -> TrialConfig:
    config = make_config(model, folder / "rows.jsonl", method, **leaves)
    sets = {
        "mine": None,
        "text": str(folder / "text.jsonl"),
        "general": str(folder / "general.jsonl"),
    }
    return config.model_copy(update={"data": config.data.model_copy(update={"eval": sets})})


@pytest.fixture(scope="module")
def trained(tiny_model: Path, folder: Path) -> tuple[TrialConfig, Record, Path]:
    config = with_sets(tiny_model, folder)
    record = run(config, folder / "run", memory_gauge=None)
    results.write_tables(folder / "run")
    return config, record, folder / "run" / "trials" / record.trial_id


def test_the_record_holds_each_sets_rows_quality_and_time(
    trained: tuple[TrialConfig, Record, Path],
) -> None:
    _, record, trial = trained
    assert list(record.sets) == ["text", "general"]
    text, general = record.sets.values()
    assert (text.source, text.rows, text.quality_name) == ("text.jsonl", len(TEXTS), "loss")
    assert (text.quality_unit, text.quality_higher_is_better) == ("nats per token", False)
    assert (general.source, general.rows, general.quality_name) == ("general.jsonl", 12, record.quality_name)
    assert text.seconds is not None
    assert record.eval_seconds is not None
    assert record.eval_seconds > text.seconds
    assert read_record(trial) == record
    (read,) = results.read_run(trial.parent.parent).records
    assert read.sets == record.sets


def test_the_scores_by_row_make_up_each_sets_quality(trained: tuple[TrialConfig, Record, Path]) -> None:
    _, record, trial = trained
    for name, found in record.sets.items():
        rows = pq.read_table(trial / set_file(name)).to_pylist()
        weights = [row.get("weight") or 1.0 for row in rows]
        mean = np.average([row["score"] for row in rows], weights=weights)
        assert mean == pytest.approx(found.quality, rel=1e-6)
        assert len(rows) == found.rows


def test_the_loss_of_text_is_over_all_of_its_tokens_but_the_first(tiny_model: Path, folder: Path) -> None:
    config = with_sets(tiny_model, folder, None, cutoff=32, dtype="float32", precision="fp32")
    policy = make_policy(config)
    scoring = set_scorings(config.stage, load(config.data))[0]
    scores = scoring.scores(policy, 32)
    stage = Pretrain()
    for row in scores.rows:
        pieces = stage.encode(policy.tokenizer, Text(row.reference), 32)
        judged = log_likelihoods(policy, pieces, 4)
        assert row.weight == sum(each.tokens for each in judged)
        assert row.score == pytest.approx(-sum(each.logprob for each in judged) / row.weight, rel=1e-5)
    assert max(len(stage.encode(policy.tokenizer, Text(row.reference), 32)) for row in scores.rows) > 1
    size = sum(len(text.encode()) for text in TEXTS)
    tokens = sum(row.weight or 0.0 for row in scores.rows)
    bits = scores.metrics["loss"] * tokens / math.log(2) / size
    assert scores.metrics["bits_per_byte"] == pytest.approx(bits, rel=1e-6)


def test_the_untrained_model_is_scored_on_the_same_rows_and_the_report_says_what_was_lost_since(
    tiny_model: Path, folder: Path, trained: tuple[TrialConfig, Record, Path]
) -> None:
    _, after, trial = trained
    before = run(with_sets(tiny_model, folder, None), folder / "run", memory_gauge=None)
    for name in before.sets:
        paths = (folder / "run" / "trials" / before.trial_id, trial)
        keys = [pq.read_table(path / set_file(name)).column("reference") for path in paths]
        assert keys[0] == keys[1]
    results.write_tables(folder / "run")
    (group,) = compare([results.read_run(folder / "run")])
    (row,) = group.rows
    assert [each.name for each in group.sets] == ["text", "general"]
    for each in group.sets:
        loss = lost(group, each, row)
        assert loss is not None
        assert loss.interval is not None
        sign = -1 if each.higher_is_better else 1
        now, then = after.sets[each.name].quality, before.sets[each.name].quality
        assert now is not None
        assert then is not None
        rise = now - then
        assert loss.value == pytest.approx(sign * rise)
        assert loss.interval[0] <= loss.value <= loss.interval[1]


def test_further_sets_change_nothing_of_training_and_are_part_of_what_a_trial_is(
    tiny_model: Path, folder: Path, trained: tuple[TrialConfig, Record, Path]
) -> None:
    config, record, _ = trained
    alone = config.model_copy(update={"data": config.data.without_further_sets()})
    plain = run(alone, folder / "plain", memory_gauge=None)
    assert (plain.quality, plain.objective, plain.sets) == (record.quality, record.objective, {})
    assert alone.trial_id() != config.trial_id()


def test_the_peak_of_scoring_is_that_of_the_longest_text_too(tiny_model: Path, folder: Path) -> None:
    config = with_sets(tiny_model, folder, cutoff=64)
    scored: list[int] = []

    def tokens(self: Any, policy: Any, rows: Any, cutoff: int) -> Any:
        scored.append(len(rows[0].text))
        return original(self, policy, rows, cutoff)

    original = Pretrain.bits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pretrain, "bits", tokens)
        assert config.model.path is not None
        measurement._measure(config, locate.model_folder(config.model), tokenizer_of(config), steps=1)
    assert scored
    assert scored[0] > 50


def test_an_infinite_loss_of_a_set_that_steers_nothing_leaves_the_trial_done_and_the_set_unmeasured(
    tiny_model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pretrain, "bits", lambda self, policy, rows, cutoff: np.full(len(rows), np.inf))
    record = run(with_sets(tiny_model, folder, None), tmp_path / "run", memory_gauge=None)
    assert record.status == "done", record.error
    text, general = record.sets.values()
    assert (text.quality, text.not_measured) == (None, "its loss is inf, its bits_per_byte is inf")
    assert text.metrics == {}
    assert general.quality is not None
    assert read_record(tmp_path / "run" / "trials" / record.trial_id) == record
