"""Silences libraries: warnings that mean nothing to the user, progress bars, telemetry."""

from __future__ import annotations

import logging
import os
import warnings

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",  # there is a worker on every core; and a fork after its use would warn
    "TRANSFORMERS_VERBOSITY": "error",
    "BITSANDBYTES_NOWELCOME": "1",
    "TQDM_DISABLE": "1",  # TRL shows a bar while it computes reference log-probabilities
}


def silence() -> None:
    """Silences libraries in this process, but not their errors; call it before transformers is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("bitsandbytes", "transformers", "trl", "accelerate", "datasets", "peft", "torchao"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|peft|bitsandbytes|accelerate)\b.*")
