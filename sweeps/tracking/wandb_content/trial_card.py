"""The model card that goes with a trial's model: the same as that of an export."""

from __future__ import annotations

import sys
from pathlib import Path

from sweeps.tracking import run_report
from trainables.models.folder import ModelError
from trainables.storage import files
from trainables.system import redaction

NAME = "README.md"


def card(trial_folder: Path) -> str | None:
    """The text of the card; ``None``, with the reason on standard error, where the base model can't be read."""
    # They import torch, which only those who send models should wait for.
    from trainables.export import model_card, saved_model
    from trainables.export.exported import Exported
    from trainables.inference.result import trial_result

    try:
        result = trial_result(trial_folder)
        folder = trial_folder / "model"
        dtype = None if result.is_adapter else saved_model.native_dtype(result)
        exported = Exported(folder, files.folder_bytes(folder), dtype)
        return str(model_card.render(result, exported, run_report.share_interval))
    except (ModelError, OSError, ValueError) as error:
        reason = redaction.redacted(str(error))
        print(f"{trial_folder.name} is sent without a model card: {reason}", file=sys.stderr)
        return None
