"""A process of its own: prints how much each setting of a run mattered, by cell, as JSON.

python -m sweeps.ui.snapshots.importance RUN_FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from sweeps.ui.snapshots.memory_limit import limit_memory


def cell_importances(folder: Path) -> list[dict[str, Any]]:
    """``cell``, ``shares`` by setting, ``like_noise``, ``not_explained``, and the ``reason`` where there are none."""
    from reports.analysis.cells import collect_cells
    from reports.analysis.search.importance import importance
    from trainables import results

    found = []
    for cell in collect_cells([results.gather_run(folder)]):
        if not cell.is_base:
            values = importance(cell)
            found.append(
                {
                    "cell": cell.label,
                    "shares": values.shares,
                    "like_noise": list(values.like_noise),
                    "not_explained": values.not_explained,
                    "trials": values.trials,
                    "ranked": values.ranked,
                    "reason": values.reason,
                }
            )
    return found


if __name__ == "__main__":
    limit_memory()
    print(json.dumps(cell_importances(Path(sys.argv[1]))))
