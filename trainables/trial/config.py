"""The config of one trial: model, data, stage, method and training settings, and the id computed from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainables.config.base import FileName, Frozen
from trainables.config.data import DataConfig
from trainables.config.model import ModelConfig
from trainables.config.optimizers import named
from trainables.config.train import TrainConfig
from trainables.config.trained_model import TrainedModel
from trainables.methods import Method, own_method
from trainables.models.kernels import attends_in_16_bits
from trainables.results import Role
from trainables.stages import Stage
from trainables.stages.rewards.stage import own_rewards
from trainables.storage import files
from trainables.storage.damaged_files import read_bytes, reading

# Settings by section that ids of earlier runs don't know: with these values a trial is what it was without them.
LATER_SETTINGS: dict[str, dict[str, Any]] = {
    "train": {
        "warmup_ratio": None,
        "router_aux_loss": 0.0,
        "compile": "auto",
        "early_stopping": None,
        "keep": "last",
    },
    "data": {
        "special_tokens": "text",
        "end": "add",
        "turns": "all",
        "template_arguments": {},
        "default_system": None,
        "tool_format": None,
        "num_samples": None,
        "sample_seed": 0,
        "ignore_columns": [],
        "reward_columns": [],
        "tags": {},
        "group": None,
        "split_by": None,
        "eval_cutoff": None,
        "quality": None,
        "quality_sha256": None,
        "planned_sets": {},
    },
    "stage": {
        "neftune_noise_alpha": None,
        "rewards": [],
        "reward_weight": 1.0,
        "objective": "causal",
        "mask": 0.15,
    },
    "method": {"layers": None, "exclude": [], "frozen_a": False},
}


class TrialConfig(Frozen):
    """One trial. ``method`` is ``None`` for the base model, which is scored untrained.

    >>> TrialConfig.model_validate({...}).trial_id()  # doctest: +SKIP
    '3f2a9c81d0b4'
    """

    cell: FileName
    method_name: str
    role: Role = "search"
    model: ModelConfig
    data: DataConfig
    stage: Stage
    method: Method | None
    train: TrainConfig

    def canonical(self) -> dict[str, Any]:
        """The JSON that the id is a hash of: with content hashes in place of paths, and without labels."""
        config = self.model_dump(mode="json")
        for part in (config["stage"], config["method"] or {}):
            part.pop("name", None)
        # Of a method of one's own: the hash of its code stands for them.
        for key in ("method_path", "holds_base"):
            (config["method"] or {}).pop(key, None)
        for reward in config["stage"].get("rewards", ()):
            reward.pop("code_path", None)
        # An id must not change from day to day.
        del config["data"]["date"]
        del config["data"]["quality_file"]  # its hash stands for it
        if self.data.tool_format == "omit":  # which changes no token
            config["data"]["tool_format"] = None
        for section, defaults in LATER_SETTINGS.items():
            for key, default in defaults.items():
                if config[section] is not None and config[section].get(key) == default:
                    config[section].pop(key, None)
        if self.model.fingerprint is not None:
            del config["model"]["path"], config["model"]["name"]
        for part, key, trained in self.trained():
            config[part][key] = trained.identity
        if self.data.sha256 is not None:
            del config["data"]["train"], config["data"]["eval"], config["data"]["folder"]
        return config

    def trained(self) -> Iterator[tuple[str, str, TrainedModel]]:
        """The other trials' models that this trial uses: (``model`` or ``stage``, the field, the model)."""
        for part, owner in (("model", self.model), ("stage", self.stage)):
            yield from ((part, key, value) for key, value in owner if isinstance(value, TrainedModel))

    def with_own_code(self) -> TrialConfig:
        """The config with all code of one's own that whoever trains or scores needs: that of its method, and the
        functions of the stage's rewards.

        For processes that were handed the config by the plan's own. Raises ``OwnMethodError``.
        """
        self.load_rewards()
        return self.with_own_method()

    def load_rewards(self) -> None:
        """Runs the code of the stage's rewards that are functions of one's own. Raises ``OwnMethodError``."""
        for reward in own_rewards(self.stage):
            reward.load()

    def with_own_method(self) -> TrialConfig:
        """The config with the class of its method, if that is one's own and was read without it: runs its code.

        Raises ``OwnMethodError``.
        """
        if not own_method.load_for(self.method):
            return self
        return TrialConfig.model_validate(self.model_dump(mode="json"))

    def trial_id(self) -> str:
        """Twelve hex digits of the SHA-256 of the config's canonical JSON."""
        return files.sha256(self.canonical())[:12]

    def identity(self) -> dict[str, Any]:
        """The fields of a record that identify the trial."""
        return {
            "trial_id": self.trial_id(),
            "cell": self.cell,
            "stage": self.stage.kind,
            "method": self.method_name,
            "model": self.model.label,
            "data": self.data.label,
            "seed": self.train.seed,
            "role": self.role,
            "start_cell": self.model.start.cell if self.model.start else None,
            "start_trial": self.model.start.trial if self.model.start else None,
            "config": self.model_dump(mode="json"),
        }

    def needs(self) -> Iterator[tuple[tuple[str, str], str]]:
        """((section, setting), capability) for all that the machine must support, by its name in ``capabilities``.

        What every supported machine can do is left out.
        """
        if self.model.attention not in ("auto", "sdpa", "eager"):
            yield ("model", "attention"), self.model.attention
        if self.model.kernels not in ("auto", "none"):
            yield ("model", "kernels"), self.model.kernels
        if self.train.precision != "fp32":
            yield ("train", "precision"), self.train.precision.removeprefix("pure_")
        if (capability := self.train.optimizer_settings.capability) is not None:
            yield ("train", "optimizer"), capability
        if self.method is not None:
            yield from ((("method", leaf), what) for leaf, what in self.method.needs())

    def halved(self, workers: int = 1) -> TrialConfig | None:
        """The same steps with half the rows per batch and twice the accumulation; ``None`` if it can't be halved.

        >>> config.halved().train.batch_size  # of 8  # doctest: +SKIP
        4
        """
        rows, odd = divmod(self.train.batch_size, 2)
        if odd or rows % workers or rows // workers < self.stage.min_worker_rows:
            return None
        if not self.stage.rows_are_independent:
            return None
        settings = {"batch_size": rows, "gradient_accumulation": 2 * self.train.gradient_accumulation}
        halved = self.model_copy(update={"train": self.train.model_copy(update=settings)})
        return None if any(self.stage.problems(halved, None)) else halved

    @property
    def keeps_base(self) -> bool:
        """Whether the base model is the same after the trial, so that another one may train on it."""
        return self.method is None or self.method.keeps_base

    @property
    def compile_obstacle(self) -> str | None:
        """Why this trial's layers can't be compiled; ``None`` where they can."""
        in_backward = self.train.optimizer_settings.updates_in_backward
        return (
            self.stage.compile_obstacle
            or (self.method.compile_obstacle if self.method is not None else None)
            or (f"{self.train.optimizer_label} updates weights in the backward pass" if in_backward else None)
        )

    @property
    def attends_in_16_bits(self) -> bool:
        """Whether queries and keys are of 16 bits in training and in scoring."""
        return attends_in_16_bits(self.train.precision, self.model.dtype)

    def base_form(self) -> str:
        """A hash of the settings that decide in what form the base model is loaded: which model, dtype, quantization,
        attention, kernels and head.
        """
        method = self.method
        return files.sha256(
            [
                self.model.model_dump(mode="json"),
                self.data.cutoff,
                self.stage.task,
                self.stage.head_settings,
                self.train.precision,
                method is None or method.saves_adapter,  # else it is loaded in the dtype that it trains in
                method.base_form if method else {},
            ]
        )

    def memory_shape(self, workers: int = 1) -> str:
        """A hash of everything that memory depends on: the config without learning rate, alpha, seed and labels."""
        config = self.canonical()
        for key in ("cell", "method_name", "role"):
            del config[key]
        del config["model"]["start"]  # the start only changes the weights' values
        config["train"] = {
            key: config["train"][key]
            for key in ("batch_size", "precision", "gradient_checkpointing", "packing")
        }
        optimizer = named(self.train.optimizer_settings.memory_form())
        config["train"]["optimizer"] = (
            optimizer if isinstance(optimizer, str) else optimizer.model_dump(mode="json")
        )
        if self.train.compile == "on":
            config["train"]["compile"] = "on"
        # With accumulation, gradients are still there in the next forward pass.
        config["train"]["accumulates"] = self.train.gradient_accumulation > 1
        if workers > 1:
            config["train"] |= {"workers": workers, "sharding": self.train.sharding}
        if config["method"] is not None:
            config["method"].pop("alpha", None)
        return files.sha256(config)[:12]


def read_config(trial_folder: Path) -> TrialConfig:
    """The config in a trial's folder. Raises ``DamagedFile``."""
    path = trial_folder / "config.json"
    with reading(path):
        return TrialConfig.model_validate_json(read_bytes(path))
