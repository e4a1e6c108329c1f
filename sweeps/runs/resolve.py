"""Which model a command's MODEL argument names: ``RUN``, ``RUN:CELL``, ``RUN:TRIAL``, ``RUN:TRIAL@STEP``, a folder,
an artifact of W&B (``wandb:ENTITY/PROJECT/ARTIFACT:VERSION``), or the name of a base model.

``RUN`` is a run's folder or URL; a trial's id may be cut short as long as only one begins so.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from sweeps.runs.artifacts import CHAT_TASK, BestTrials, artifact_in_run, split_run
from sweeps.runs.proposals import proposed_run
from trainables.config.model import ModelConfig, Unsafe
from trainables.inference.result import (
    Result,
    base_model_result,
    model_trust,
    trial_result,
    untrained_result,
)
from trainables.methods.own_method import TRUST
from trainables.models import locate
from trainables.models.folder import ModelError
from trainables.models.wandb_artifact import WandbArtifact
from trainables.system.suggestions import did_you_mean


def resolve(
    text: str, best_trials: BestTrials, trust: Sequence[str] = (), template: str | None = None
) -> Result:
    """The result that ``text`` names. ``trust``: what an untrusted model may do; ``template``: the chat template of a
    base model that has none of its own.

    Raises ``ModelError`` that says what there is instead.
    """
    _refuse_unknown(trust)
    if text.startswith(f"{WandbArtifact.prefix}:"):
        artifact = WandbArtifact.parse(text.partition(":")[2])
        return _result_in_folder(artifact.fetch_all(), text, trust, template)
    run, part = split_run(text)
    if run is not None:
        return _result_in_run(text, run, part, best_trials, trust)
    path = Path(text).expanduser()
    if path.is_dir():
        return _result_in_folder(path, text, trust, template)
    if path.suffix == ".gguf" and path.is_file():
        return base_model_result(ModelConfig(path=path), text, template)
    if path.is_file():
        raise ModelError(
            f"{text} is a file, and neither a run nor a model. Rows are given with --data: paretune evaluate RESULT "
            f"--data {shlex.quote(text)}"
        )
    try:
        locate.find_source(text)
    except ModelError as error:
        near = _missing_path(text) or proposed_run(text).removeprefix(". ")
        raise ModelError(
            f"{text} is not a run, folder or model: give RUN, RUN:CELL, RUN:TRIAL, RUN:TRIAL@STEP, the folder of a "
            f"trial or a model, or a base model's name. {near or error}"
        ) from None
    return base_model_result(ModelConfig(name=text, unsafe=model_trust(trust)), text, template)


def _result_in_folder(path: Path, text: str, trust: Sequence[str], template: str | None) -> Result:
    result = trial_result(path, trust)
    if result.trained_folder:
        return replace(result, name=text)
    return base_model_result(result.config.model, text, template)


def _missing_path(text: str) -> str | None:
    """What is wrong with a path that leads to nothing; ``None`` for a text that may be a model's name on a hub."""
    path = Path(text.rpartition(":")[0] or text).expanduser()
    folder = path.parent
    # Runs are made in `runs` by default.
    if len(path.parts) < 2 or not (folder.is_dir() or text.startswith((".", "/", "~", "runs/"))):
        return None
    near = (
        did_you_mean(path, map(str, folder.iterdir()))
        if folder.is_dir()
        else f": there is no folder {folder}"
    )
    return f"Nothing is at {path}{near}"


def _refuse_unknown(trust: Sequence[str]) -> None:
    for what in trust:
        allowed = (*get_args(Unsafe), TRUST)
        if what not in allowed:
            choices = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
            raise ModelError(f"--trust {what}: give {choices}{did_you_mean(what, allowed)}")


def _result_in_run(text: str, run: str, part: str, best_trials: BestTrials, trust: Sequence[str]) -> Result:
    artifact = artifact_in_run(text, run, part, best_trials, CHAT_TASK)
    read_result = untrained_result if artifact.untrained else trial_result
    return replace(read_result(artifact.folder, trust), name=text)
