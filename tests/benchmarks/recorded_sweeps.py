"""Sweeps without early stopping, trained once and kept as small files of curves: what early stopping is judged by.

    python -m tests.benchmarks.recorded_sweeps [NAME ...]     # trains them, and writes their files anew: minutes
    python -m tests.benchmarks.recorded_sweeps --model "{name: smollm2-135m}" --precision bf16 --output FOLDER full lora
                                                   # a real model: 25 minutes a sweep where a core has 16-bit products
    python -m tests.benchmarks.recorded_sweeps --run RUN ...   # the cells of finished runs that had no early stopping

Each has up to 16 trials of 40 steps x 8 rows (DPO: 4 pairs) on the embedded commands, by a quasi-random search over the
range of learning rates that the method has by default (and over LoRA's rank): the loss of every step, and the objective
on 64 validation rows at some. The model is a Llama of four layers and 0.6 M parameters, which was trained on the
commands' running text before; DPO goes on from it after 200 steps of supervised fine-tuning.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT
from trainables.results import read_curve, read_run

FOLDER = ROOT / "tests/sweeps/search/recorded"
STUDIES = FOLDER / "studies"  # of shipped studies, on SmolLM2-135M in bf16
SEEDS = (0,)
VALIDATED = (2, 4, 8, 12, 16, 20, 40)  # steps
LORA = "{kind: lora, rank: {choice: [4, 8, 16]}}"
PARTS = {
    "lora": {"stage": "sft", "method": LORA, "rows": 8, "quality": ", quality: loss"},
    "full": {"stage": "sft", "method": "{kind: full}", "rows": 8, "quality": ", quality: loss"},
    "dpo": {"stage": "dpo", "method": LORA, "rows": 4, "quality": ""},
}
SPEC = """\
name: recorded
model: {model}
data: {{train: commands, eval_fraction: 0.1, eval_rows: 64, cutoff: 128{quality}}}
stages: [{{kind: {stage}}}]
methods: [{method}]
train: {{steps: 40, batch_size: {rows}, precision: {precision}, seed: {seed}}}
search: {{trials: 16, sampler: qmc, scheduler: none, seed: {seed}}}
resources: {{cpus: 1, concurrent: 1}}
tracking: {{wandb: off}}
"""


@dataclass(frozen=True)
class RecordedTrial:
    """``losses``: (steps,), of each step's batch before its update. ``objectives``: on validation rows, by step; in a
    run's file at the last step alone.
    """

    losses: tuple[float, ...]
    objectives: dict[int, float]

    @property
    def final(self) -> float:
        return self.objectives[max(self.objectives)]


def recorded(name: str, folder: Path = FOLDER) -> list[list[RecordedTrial]]:
    """The trials of the recorded sweeps of a name, a list for each seed, in the order of their proposals."""
    sweeps: dict[int, list[RecordedTrial]] = {}
    for trial in json.loads((folder / f"{name}.json").read_text())["trials"]:
        objectives = {int(step): value for step, value in trial["objective"].items()}
        sweeps.setdefault(trial["seed"], []).append(RecordedTrial(tuple(trial["train_loss"]), objectives))
    return list(sweeps.values())


def record_run(run: Path, output: Path = STUDIES) -> None:
    """Keeps what the trials of a finished run's searches learned by step, a file for each cell."""
    records = [record for record in read_run(run).records if record.role == "search"]
    for cell in sorted({record.cell for record in records}):
        trials = [_ended_trial(run, record) for record in records if record.cell == cell]
        _write(output / f"{run.name}.{cell}.json", [trial for trial in trials if trial is not None])


def _ended_trial(run: Path, record: Any) -> dict[str, Any] | None:
    losses = [p["value"] for p in read_curve(run / "trials" / record.trial_id) if p["name"] == "train_loss"]
    if record.objective is None or len(losses) < record.config["train"]["steps"]:
        return None
    rate = record.config["train"]["learning_rate"]
    return {
        "seed": 0,
        "settings": {"learning_rate": rate},
        "train_loss": [round(loss, 4) for loss in losses],
        "objective": {str(len(losses)): round(record.objective, 5)},
    }


def _write(path: Path, trials: list[dict[str, Any]]) -> None:
    lines = ",\n".join(json.dumps(each) for each in trials)
    path.write_text(f'{{"trials": [\n{lines}\n]}}\n')


def record(name: str, model: str, output: Path, precision: str = "fp32") -> None:
    """Trains the sweeps of a name; each trial is in the file once it has ended."""
    trials: list[dict[str, Any]] = []
    for seed in SEEDS:
        for trial in _trials(name, model, seed, precision):
            trials.append(trial)
            _write(output / f"{name}.json", trials)


def _trials(name: str, model: str, seed: int, precision: str) -> Iterator[dict[str, Any]]:
    from sweeps.planning.plan import make
    from sweeps.search.study import CellStudy
    from sweeps.spec.spec import read

    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "recorded.yaml"
        spec.write_text(SPEC.format(**PARTS[name], model=model, seed=seed, precision=precision))
        study = CellStudy(Path(folder), make(read(str(spec)), fetch=True).cells[0])
        while (config := study.ask()) is not None:
            started = time.process_time()
            points = list(_curve(config, Path(folder) / config.trial_id()))
            settings = study.proposed()[config.trial_id()].params
            print(
                f"{name} {seed} {settings}: {time.process_time() - started:.0f} s of a processor", flush=True
            )
            yield {
                "seed": seed,
                "settings": {leaf: study.cell.space[leaf].decode(value) for leaf, value in settings.items()},
                "train_loss": [round(p["value"], 4) for p in points if p["name"] == "train_loss"],
                "objective": {
                    str(p["step"]): round(p["value"], 5) for p in points if p["name"] == "objective"
                },
            }


def _curve(config: Any, folder: Path) -> Iterator[dict[str, Any]]:
    """The curve of a trial that is trained as ever, and neither saved nor scored on the test rows."""
    from transformers import set_seed

    from trainables.data import loading
    from trainables.models import locate
    from trainables.training.checkpoints import Progress
    from trainables.training.optimizers.build import use_optimizer
    from trainables.training.trainer_setup import clean_process, training_arguments
    from trainables.training.training_callback import NoControl, TrialCallback
    from trainables.trial.loading import attach, load_base
    from trainables.trial.tokenizer import tokenizer_of

    folder.mkdir()
    train, cutoff = config.train, config.data.cutoff
    clean_process(train.precision)
    set_seed(train.seed)
    rows = loading.load(config.data, config.stage.row_type)
    policy = attach(load_base(config, locate.model_folder(config.model)), tokenizer_of(config), config)
    options = training_arguments(train, train.steps, folder, 1, policy.device)
    trainer = config.stage.trainer(policy, rows.train, train, cutoff, options)
    use_optimizer(trainer, policy, train)
    callback = TrialCallback(
        folder=folder,
        progress=Progress(),
        control=NoControl(),
        evaluate=lambda: config.stage.validation_scores(policy, rows.validation, cutoff),
        evaluate_at=frozenset(VALIDATED),
        on_first_step=lambda: None,
        tokens_after=trainer.tokens_after,
        autosave=False,
    )
    trainer.add_callback(callback)
    trainer.train()
    callback.close()
    yield from read_curve(folder)


def trained_model(folder: Path, fine_tuned: bool = False) -> Path:
    """A small model that was trained on the commands' running text, and perhaps on the commands after that."""
    from tests.helpers.tiny_model import make_model
    from trainables.runner.run import TrialContext, run_trial
    from trainables.trial.config import TrialConfig

    path = make_model(folder / "made", hidden=128)
    for kind, steps in (("pretrain", 200), *((("sft", 200),) if fine_tuned else ())):
        config = TrialConfig.model_validate(
            {
                "cell": kind,
                "method_name": "full",
                "model": {"path": path, "dtype": "float32"},
                "data": {"train": "commands", "eval_fraction": 0.1, "eval_rows": 8, "cutoff": 128},
                "stage": {"kind": kind},
                "method": {"kind": "full"},
                "train": {"steps": steps, "batch_size": 8, "learning_rate": 1e-3, "precision": "fp32"},
            }
        )
        ended = run_trial(config, TrialContext(folder))
        assert ended.status == "done", ended.error
        print(f"{kind}: {ended.quality_name} {ended.quality:.3f}", flush=True)
        path = folder / "trials" / config.trial_id() / "model"
    return path


def main() -> None:
    import torch

    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(PARTS))
    parser.add_argument("--model")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--output", type=Path, default=FOLDER)
    parser.add_argument("--run", type=Path, nargs="+", default=[])
    options = parser.parse_args()
    for run in options.run:
        record_run(run)
    if options.run:
        return
    torch.set_num_threads(1)
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.names:
        with tempfile.TemporaryDirectory() as folder:
            own = f"{{path: {trained_model(Path(folder), name == 'dpo')}}}" if not options.model else ""
            record(name, options.model or own, options.output, options.precision)


if __name__ == "__main__":
    main()
