"""Benchmarks of lm-evaluation-harness (the extra ``harness``) on a model that is in memory already.

The harness's own adapter for transformers does the scoring, so the numbers are those that anybody gets with it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainables.scoring.measures import FRACTION, Measure, MeasuredRows, mean_measure
from trainables.system.capabilities import check_capability
from trainables.system.progress import report_progress
from trainables.system.suggestions import did_you_mean
from trainables.training.policy import Policy

LOWER_IS_BETTER = ("perplexity", "bits_per_byte", "brier_score", "ter")


class HarnessError(ValueError):
    """A benchmark that can't be run: which one, and why."""


@dataclass(frozen=True)
class Benchmarks:
    """Benchmark ``tasks`` by their names, of the harness or of YAML files in ``folder``.

    ``shots``: examples before each question; ``None`` for the task's default. ``max_rows``: of each task; ``None`` for
    all. ``chat``: prompts are formatted with the model's chat template.
    """

    tasks: tuple[str, ...]
    folder: Path | None = None
    shots: int | None = None
    max_rows: int | None = None
    chat: bool = False
    seed: int = 0

    def check(self) -> None:
        """Raises ``HarnessError`` if the harness is not installed, or for a task that it doesn't have."""
        package = check_capability("lm-eval")
        if not package.works:
            raise HarnessError(f"--benchmark {package.detail}")
        known = set(_task_manager(self.folder).all_tasks)
        unknown = [task for task in self.tasks if task not in known and "*" not in task]
        if unknown:
            hint = did_you_mean(unknown[0], sorted(known))
            raise HarnessError(f"--benchmark {unknown[0]}: lm-evaluation-harness has no such task{hint}")


@lru_cache(maxsize=1)
def _task_manager(folder: Path | None) -> Any:
    """The harness's index of its tasks and of those in ``folder``; it has thousands and takes seconds to make."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(folder) if folder else None)


def run(policy: Policy, benchmarks: Benchmarks, batch_size: int) -> MeasuredRows:
    """Scores the model on every task; measures are named ``TASK/METRIC``. Raises ``HarnessError``."""
    manager = _task_manager(benchmarks.folder)
    from lm_eval import evaluator

    evaluator.get_git_commit_hash = lambda: None  # outside of a repository, git prints an error
    with policy.evaluating():
        try:
            output = evaluator.simple_evaluate(
                model=_adapter(policy, batch_size),
                tasks=list(benchmarks.tasks),
                num_fewshot=benchmarks.shots,
                limit=benchmarks.max_rows,
                apply_chat_template=benchmarks.chat,
                task_manager=manager,
                random_seed=benchmarks.seed,
                numpy_random_seed=benchmarks.seed,
                torch_random_seed=benchmarks.seed,
                fewshot_random_seed=benchmarks.seed,
                # The harness would resample 100,000 times, for standard errors that nothing here uses.
                bootstrap_iters=0,
            )
        except Exception as error:  # a task's data, its code, or the hub
            why = f"{type(error).__name__}: {error}"
            raise HarnessError(f"--benchmark {', '.join(benchmarks.tasks)}: {why}") from error
    return _measured(output)


def _adapter(policy: Policy, batch_size: int) -> Any:
    """The harness's adapter for transformers around the model, without progress bars."""
    from lm_eval.models.huggingface import HFLM

    class Adapter(HFLM):
        batches = 0

        def loglikelihood(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return super().loglikelihood(requests, disable_tqdm=True)

        def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return super().loglikelihood_rolling(requests, disable_tqdm=True)

        def generate_until(self, requests: Any, disable_tqdm: bool = False) -> Any:
            return super().generate_until(requests, disable_tqdm=True)

        def _model_call(self, *inputs: Any, **options: Any) -> Any:
            self.batches += 1
            report_progress("benchmark batches", self.batches)
            return super()._model_call(*inputs, **options)

    return Adapter(pretrained=policy.causal, tokenizer=policy.tokenizer, batch_size=batch_size)


def _measured(output: Mapping[str, Any]) -> MeasuredRows:
    samples: Mapping[str, Sequence[Mapping[str, Any]]] = output["samples"]
    measures = tuple(
        each for task, values in output["results"].items() for each in _task_measures(task, values, samples)
    )
    # One row per sample of each task, in the harness's order; all columns have this length.
    rows = [(task, sample) for task, samples_ in samples.items() for sample in samples_]
    columns = {
        "task": [task for task, _ in rows],
        "row": [sample["doc_id"] for _, sample in rows],
        "prompt": [_json(sample["arguments"]) for _, sample in rows],
        "reference": [str(sample["target"]) for _, sample in rows],
        "prediction": [_json(sample["filtered_resps"]) for _, sample in rows],
        "scores": [_json({name: sample[name] for name in sample["metrics"]}) for _, sample in rows],
    }
    versions = {task: str(version) for task, version in output["versions"].items()}
    about = {
        "version": check_capability("lm-eval").detail,
        "tasks": versions,
        "shots": dict(output["n-shot"]),
    }
    return MeasuredRows(columns, measures, measures[0].name if measures else "", (), {"lm-eval": about})


def _task_measures(
    task: str, values: Mapping[str, Any], samples: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Iterator[Measure]:
    """A task's metrics, by row where every row has a number and their mean is the metric."""
    for key, value in values.items():
        metric, _, answer_filter = key.partition(",")  # such as "exact_match,strict-match"
        if not answer_filter or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        rows = [row.get(metric) for row in samples.get(task, ()) if row["filter"] == answer_filter]
        numeric = bool(rows) and all(isinstance(each, int | float) for each in rows)
        name = f"{task}/{metric}" if answer_filter == "none" else f"{task}/{key}"
        better = metric not in LOWER_IS_BETTER
        unit = FRACTION if metric.startswith(("acc", "exact_match")) else ""
        measure = Measure(name, float(value), None, higher_is_better=better, unit=unit, how="lm-eval")
        # Some metrics, such as F1 and perplexity, are no mean of their rows' values.
        if numeric and abs(mean_measure(name, rows).value - value) < 1e-9:
            scores = tuple(float(each) for each in rows if each is not None)
            measure = Measure(name, float(value), scores, None, better, unit, "lm-eval")
        yield measure


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
