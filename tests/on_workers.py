"""One of a group of workers that train trials together: ``torchrun tests/on_workers.py RUN CONFIG...``."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from trainables import noise

if __name__ == "__main__":
    noise.silence()
    from torch import distributed
    from trial_example import LETTER

    from trainables.config import TrialConfig
    from trainables.rewards import RULES
    from trainables.run import Place, run_trial

    RULES["letter"] = LETTER
    place = Place(Path(sys.argv[1]), workers=int(os.environ["WORLD_SIZE"]))
    for path in sys.argv[2:]:
        config = TrialConfig.model_validate(json.loads(Path(path).read_text(encoding="utf-8")))
        record = run_trial(config, place)
        if record.status != "done":
            sys.exit(f"{config.cell} {record.status}: {record.error}")
    distributed.barrier()  # the first scores what the others don't
    distributed.destroy_process_group()
