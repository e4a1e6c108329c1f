"""Benchmarks by lm-evaluation-harness (the extra ``harness``), against a model that is in memory already.

The harness's own adapter for transformers does the scoring, so the numbers are those that others get by it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainables.scoring.measures import FRACTION, Measure, Measured, of_rows
from trainables.system.capabilities import check
from trainables.system.progress import tell
from trainables.system.suggestions import did_you_mean
from trainables.training.policy import Policy

LOWER_IS_BETTER = ("perplexity", "bits_per_byte", "brier_score", "ter")


class HarnessError(ValueError):
    """A benchmark that can't be run: which, and why."""


@dataclass(frozen=True)
class Benchmarks:
    """Tasks by their names in the harness, or in YAML files in ``folder``. ``most``: rows of each; ``None`` for all.

    ``chat`` writes prompts by the model's chat template.
    """

    tasks: tuple[str, ...]
    folder: Path | None = None
    shots: int | None = None
    most: int | None = None
    chat: bool = False
    seed: int = 0

    def check(self) -> None:
        """Raises ``HarnessError`` without the harness, or for a task that it doesn't know."""
        found = check("lm-eval")
        if not found.works:
            raise HarnessError(f"--benchmark {found.detail}")
        known = set(_manager(self.folder).all_tasks)
        unknown = [task for task in self.tasks if task not in known and "*" not in task]
        if unknown:
            hint = did_you_mean(unknown[0], sorted(known))
            raise HarnessError(f"--benchmark {unknown[0]}: lm-evaluation-harness knows no such task{hint}")


@lru_cache(maxsize=1)
def _manager(folder: Path | None) -> Any:
    """The harness's list of thousands of tasks, and those in a folder."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=str(folder) if folder else None)


def run(policy: Policy, asked: Benchmarks, batch_size: int) -> Measured:
    """Every task scored; a measure of each is named ``TASK/METRIC``. Raises ``HarnessError``."""
    manager = _manager(asked.folder)
    from lm_eval import evaluator

    evaluator.get_git_commit_hash = lambda: None  # outside of a repository git would complain aloud
    with policy.evaluating():
        try:
            found = evaluator.simple_evaluate(
                model=_adapter(policy, batch_size),
                tasks=list(asked.tasks),
                num_fewshot=asked.shots,
                limit=asked.most,
                apply_chat_template=asked.chat,
                task_manager=manager,
                random_seed=asked.seed,
                numpy_random_seed=asked.seed,
                torch_random_seed=asked.seed,
                fewshot_random_seed=asked.seed,
                bootstrap_iters=0,
            )
        except Exception as error:  # a task's data, its code, or the hub
            why = f"{type(error).__name__}: {error}"
            raise HarnessError(f"--benchmark {', '.join(asked.tasks)}: {why}") from error
    return _measured(found)


def _adapter(policy: Policy, batch_size: int) -> Any:
    """The harness's adapter around the model; it shows no bars of its own."""
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
            tell("benchmark batches", self.batches)
            return super()._model_call(*inputs, **options)

    return Adapter(pretrained=policy.causal, tokenizer=policy.tokenizer, batch_size=batch_size)


def _measured(found: Mapping[str, Any]) -> Measured:
    samples: Mapping[str, Sequence[Mapping[str, Any]]] = found["samples"]
    measures = tuple(each for task, values in found["results"].items() for each in _of(task, values, samples))
    rows = [(task, sample) for task, samples_ in samples.items() for sample in samples_]
    columns = {
        "task": [task for task, _ in rows],
        "row": [sample["doc_id"] for _, sample in rows],
        "prompt": [_json(sample["arguments"]) for _, sample in rows],
        "reference": [str(sample["target"]) for _, sample in rows],
        "prediction": [_json(sample["filtered_resps"]) for _, sample in rows],
        "scores": [_json({name: sample[name] for name in sample["metrics"]}) for _, sample in rows],
    }
    versions = {task: str(version) for task, version in found["versions"].items()}
    about = {"version": check("lm-eval").detail, "tasks": versions, "shots": dict(found["n-shot"])}
    return Measured(columns, measures, measures[0].name if measures else "", (), {"lm-eval": about})


def _of(
    task: str, values: Mapping[str, Any], samples: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Iterator[Measure]:
    """A task's metrics; by row where each row has a number of its own and their mean is the metric."""
    for key, value in values.items():
        metric, _, name = key.partition(",")
        if not name or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        chosen = [row for row in samples.get(task, ()) if row["filter"] == name]
        rows = [row.get(metric) for row in chosen]
        own = all(isinstance(each, int | float) for each in rows) and bool(rows)
        label = f"{task}/{metric}" if name == "none" else f"{task}/{metric},{name}"
        better = metric not in LOWER_IS_BETTER
        unit = FRACTION if metric.startswith(("acc", "exact_match")) else ""
        measure = Measure(label, float(value), None, higher_is_better=better, unit=unit, how="lm-eval")
        if own and abs(of_rows(label, rows).value - value) < 1e-9:
            scores = tuple(float(each) for each in rows if each is not None)
            measure = Measure(label, float(value), scores, None, better, unit, "lm-eval")
        yield measure


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
