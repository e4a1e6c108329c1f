"""Learning curves: the objective on the validation rows and the training loss, by step."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from reports import units
from reports.analysis.group import Group, Row
from reports.plots.style import Drawing, Palette, figure, method_handles, objective_axis, objective_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from trainables.results import Run

Curves = dict[str, list[tuple[int, float]]]  # by trial id


def draw(group: Group, colours: Palette, name: str) -> Drawing | None:
    """A panel for each curve that any trial has, each cell's best in bold."""
    panels = [("objective", objective_words(group)), ("train_loss", "training loss")]
    found = [(curve, label, read(group, curve)) for curve, label in panels]
    found = [panel for panel in found if any(panel[2].values())]
    if not found:
        return None
    made = figure(height=0.6 + 2.2 * len(found))
    axes_by_row = made.subplots(len(found), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (curve, label, curves) in zip(axes_by_row, found, strict=True):
        _panel(axes, group, curves, colours)
        axes.set_ylabel(label)
        if curve == "objective":
            objective_axis(axes, group)
    axes_by_row[-1].set_xlabel("step")
    methods = list(dict.fromkeys(row.cell.method for row in group.rows))
    made.legend(
        handles=method_handles(methods, colours), loc="outside upper left", ncols=min(4, len(methods))
    )
    return Drawing(name, made, _alt(group, found))


def read(group: Group, curve: str) -> dict[str, Curves]:
    """The finite points of one curve for every trial that has any, by the cell's label, then by trial id."""
    by_run: dict[int, Curves] = {}
    for row in group.rows:
        run = row.cell.run
        if id(run) not in by_run:
            by_run[id(run)] = _of_run(run, curve)
    return {
        row.cell.label: {
            record.trial_id: points
            for record in row.cell.records
            if (points := by_run[id(row.cell.run)].get(record.trial_id))
        }
        for row in group.rows
    }


def _of_run(run: Run, curve: str) -> Curves:
    import pyarrow.compute as pc

    found: Curves = {}
    for point in run.curves.filter(pc.equal(run.curves["name"], curve)).to_pylist():
        if point["value"] is not None and isfinite(point["value"]):
            found.setdefault(point["trial_id"], []).append((point["step"], point["value"]))
    return {trial: sorted(points) for trial, points in found.items()}


def _panel(axes: Axes, group: Group, curves: dict[str, Curves], colours: Palette) -> None:
    longest = max(len(points) for trials in curves.values() for points in trials.values())
    for row in group.rows:
        colour = colours[row.cell.method]
        for trial, points in curves[row.cell.label].items():
            best = row.best is not None and trial == row.best.trial_id
            look: dict[str, Any] = (
                {"linewidth": 2.2, "zorder": 4} if best else {"linewidth": 0.9, "alpha": 0.45, "zorder": 2}
            )
            steps, values = zip(*points, strict=True)
            # Few points show where they were measured; a single one would show nothing as a line.
            mark: dict[str, Any] = {"marker": "o", "markersize": 4 if best else 3} if longest < 12 else {}
            axes.plot(steps, values, color=colour, **look, **mark)


def _alt(group: Group, found: list[tuple[str, str, dict[str, Curves]]]) -> str:
    return " ".join(f"Line chart of {label} by step. {_ends(group, curves)}" for _, label, curves in found)


def _ends(group: Group, curves: dict[str, Curves]) -> str:
    ends = [_end(row, curves[row.cell.label].get(row.best.trial_id)) for row in group.rows if row.best]
    return f"Each cell's best, first to last: {'; '.join(end for end in ends if end) or 'none'}."


def _end(row: Row, points: list[tuple[int, float]] | None) -> str | None:
    if not points:
        return None
    (first, start), (last, end) = points[0], points[-1]
    return f"{row.name} {units.number(start)} at step {first} to {units.number(end)} at step {last}"
