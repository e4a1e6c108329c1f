"""The tracking settings of a run that exists, by its ``spec.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweeps.runs.layout import read_environment
from sweeps.spec import overrides, source
from sweeps.spec.problems import SpecError
from sweeps.spec.settings import TrackingConfig

FILES = ("spec.yaml", "environment.json")  # of a run, which the settings are read from
# Of the section `tracking`, what says where a run goes; whether it goes anywhere is asked for by the command.
KEPT = ("project", "entity", "log_model")


def tracking_of(run_folder: Path, given: Mapping[str, Any]) -> TrackingConfig:
    """The settings of a run's spec with those that are given now. A spec that can't be read says nothing.

    Raises ``pydantic.ValidationError`` for what W&B refuses.
    """
    written = _written(run_folder)
    kept = {name: written[name] for name in KEPT if name in written}
    return TrackingConfig.model_validate({**kept, **given})


def _written(run_folder: Path) -> dict[str, Any]:
    """The section `tracking` as the user wrote it, with `--set`."""
    sets = [
        text
        for text in (read_environment(run_folder) or {}).get("overrides", ())
        if text.startswith("tracking")
    ]
    try:
        section = overrides.apply(source.read(run_folder / "spec.yaml"), sets).tree.get("tracking")
    except (OSError, SpecError):
        return {}
    return section if isinstance(section, dict) else {}
