"""Where the unfinished trials of a run go on, by its checkpoints, and how many steps they train again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainables import results
from trainables.storage.damaged_files import read_object, reading
from trainables.storage.url_store import Store
from trainables.training.checkpoints import newest_complete, newest_first, step_of


@dataclass(frozen=True)
class ResumePoint:
    """``saved_step``: of the trial's newest complete checkpoint, 0 without one; ``last_step``: the last that its curve
    or its record has.
    """

    cell: str
    trial_id: str
    saved_step: int
    last_step: int
    steps: int | None = None  # of the whole trial, where its config says it

    @property
    def steps_again(self) -> int:
        return max(0, self.last_step - self.saved_step)

    def __str__(self) -> str:
        """``sft-full 3f2a9c81d0b4 goes on at step 41; 2 steps are done again``."""
        if self.saved_step == self.steps:
            return f"{self.cell} {self.trial_id} is trained, and has to be scored"
        place = f"goes on at step {self.saved_step + 1}" if self.saved_step else "begins again at step 1"
        steps = "1 step is" if self.steps_again == 1 else f"{self.steps_again or 'no'} steps are"
        return f"{self.cell} {self.trial_id} {place}; {steps} done again"


def resume_points(run: Path, store: Store | None = None) -> Iterator[ResumePoint]:
    """For each unfinished trial of a run folder that has trained a step. ``store``: where its checkpoints are, if not
    in the folder.
    """
    for folder in results.trial_folders(run):
        if results.has_ended(folder):
            continue
        record = results.read_record(folder)
        logged = max((point["step"] for point in results.read_curve(folder)), default=0)
        last = max(logged, record.steps or 0 if record is not None else 0)
        saved = _saved_step(folder, store)
        if last or saved:
            with reading(folder / "config.json"):
                config = read_object(folder / "config.json")
                cell, steps = str(config["cell"]), config["train"].get("steps")
            yield ResumePoint(cell, folder.name, saved, max(last, saved), steps)


def _saved_step(folder: Path, store: Store | None) -> int:
    if store is None:
        newest = newest_complete(folder)
        return step_of(newest) if newest is not None else 0
    names = newest_first(store.within(f"trials/{folder.name}").list())
    return step_of(Path(names[0])) if names else 0
