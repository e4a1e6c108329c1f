"""Libraries' noise that says nothing to our user: warnings we understand, progress bars, phone-home."""

from __future__ import annotations

import logging
import os
import warnings

ENVIRONMENT = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",  # workers are many; and a fork after use would warn
    "TRANSFORMERS_VERBOSITY": "error",
    "BITSANDBYTES_NOWELCOME": "1",
    "TQDM_DISABLE": "1",  # TRL's bar while reference log-probabilities are computed
}


def silence() -> None:
    """Quiets this process; call it before transformers is imported. Errors still come through."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in ("bitsandbytes", "transformers", "trl", "accelerate", "datasets", "peft", "torchao"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(torch|transformers|trl|peft|bitsandbytes|accelerate)\b.*")
