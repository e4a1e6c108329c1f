"""The Pareto figure shows the range of the cells; what coincides in it is drawn apart or counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reports.analysis.comparison import compare
from reports.plots import pareto
from reports.plots.drawing import Drawing
from reports.plots.overlaps import places, side_by_side
from reports.plots.style import PAPER, figure, palette
from reports.plots.view import view
from reports.statistics.resampled_choice import ResampledChoice
from tests.helpers.run_folders import MIB, record, write_run
from trainables import results
from trainables.results import Record

LOSS: dict[str, Any] = {"quality_name": "loss", "quality_unit": None, "quality_higher_is_better": False}


def drawn(tmp_path: Path, *records: Record) -> Drawing:
    (group,) = compare([results.read_run(write_run(tmp_path / "run", list(records)))])
    drawing = pareto.draw(group, palette([group]), "pareto")
    assert drawing is not None
    return drawing


def texts(drawing: Drawing) -> set[str]:
    return {text.get_text() for text in drawing.figure.axes[0].texts}


def test_losses_near_0_fill_the_figure_and_the_untuned_model_is_a_note_at_its_edge(tmp_path: Path) -> None:
    drawing = drawn(
        tmp_path,
        record("aaa", "full", quality=0.001, peak_train_bytes=3700 * MIB, **LOSS),
        record("bbb", "lora", quality=0.0022, **LOSS),
        record("ccc", "lora", quality=0.5, objective=0.1, **LOSS),
        record("ddd", "base", quality=3.998, **LOSS),
    )
    low, high = drawing.figure.axes[0].get_ylim()
    assert 0 < low < 0.001 < 0.0022 < high < 0.003
    assert "↑ untuned 3.998, 1 trial" in texts(drawing)


def test_an_untuned_model_that_is_near_is_a_line(tmp_path: Path) -> None:
    drawing = drawn(
        tmp_path,
        record("aaa", "full", quality=0.9),
        record("bbb", quality=0.7),
        record("c", "base", quality=0.65),
    )
    assert "untuned" in texts(drawing)
    assert drawing.figure.axes[0].get_ylim()[0] < 0.65


@pytest.mark.parametrize(("low", "high", "scale"), [(0.01, 1.5, "log"), (1.0, 1.5, "linear")])
def test_losses_of_several_magnitudes_have_a_logarithmic_axis(
    tmp_path: Path, low: float, high: float, scale: str
) -> None:
    drawing = drawn(tmp_path, record("aaa", "full", quality=low, **LOSS), record("b", quality=high, **LOSS))
    assert drawing.figure.axes[0].get_yscale() == scale


def test_a_share_of_rows_has_no_axis_beyond_100_percent() -> None:
    shown = view([1.0, 2.0], [0.98, 1.0], [0.9, 1.0], [], lower_is_better=False, share=True)
    assert shown.y[1] <= 1.03
    assert (shown.place(0.2), shown.place(0.95)) == (-1, 0)


def test_memory_begins_at_0_unless_cells_would_hide_one_another() -> None:
    def memory(*peaks: float) -> tuple[float, float]:
        some = [0.9] * len(peaks)
        return view(peaks, some, some, [], lower_is_better=False, share=True).x

    assert memory(1.0, 2.5)[0] == 0
    assert 0.5 < memory(1.0, 1.01)[0] < 1.0
    assert 0.5 < memory(*[0.9, 1.0, 2.5] * 3)[0] < 0.9


def test_points_at_one_place_are_drawn_side_by_side_or_counted() -> None:
    axes = figure(height=3.7).subplots()
    axes.set_xlim(0, 2)
    axes.set_ylim(0, 1)
    points = [(1.0, 0.5), (1.0, 0.5), (1.9, 0.1)]
    assert side_by_side(axes, points) == [-4.5, 4.5, 0.0]
    assert sorted((place, len(members)) for place, members in places(axes, points)) == [
        ((1.0, 0.5), 2),
        ((1.9, 0.1), 1),
    ]


def test_two_cells_of_the_same_numbers_are_both_seen(tmp_path: Path) -> None:
    drawing = drawn(
        tmp_path, record("aaa", "full"), record("bbb", "lora"), record("c", "freeze", quality=0.5)
    )
    points = [line for line in drawing.figure.axes[0].lines if line.get_markersize() >= 9]
    assert len({round(float(line.get_xdata()[0]), 3) for line in points}) == 3


@pytest.mark.parametrize(("share", "filled"), [(0.95, True), (0.94, False)])
def test_a_cells_point_is_filled_where_it_is_on_the_front_in_95_percent_of_resamples(
    tmp_path: Path, share: float, filled: bool
) -> None:
    (group,) = compare([results.read_run(write_run(tmp_path / "run", [record("aaa", "full"), record("b")]))])
    shares = {"sft-full": 1.0, "sft-lora": share}
    group.__dict__["choice"] = ResampledChoice("sft-full", 0.9, {}, shares)
    colours = palette([group])
    drawing = pareto.draw(group, colours, "pareto")
    assert drawing is not None
    points = [line for line in drawing.figure.axes[0].lines if line.get_markersize() >= 9]
    fills = [line.get_markerfacecolor() for line in points if line.get_xdata()[0] is not None]
    assert colours["full"] in fills
    assert (colours["lora"] in fills) is filled
    assert (PAPER in fills) is not filled
