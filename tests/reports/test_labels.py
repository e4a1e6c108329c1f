"""Labels in figures: beside their points, off one another, and in the same place every time."""

from __future__ import annotations

from itertools import combinations

from matplotlib.text import Text

from reports.plots.labels import Label, place
from reports.plots.style import figure, styled

SAME_POINT = [Label(f"lora-{number}", 1.0, 0.9) for number in range(6)]
FAR_APART = [Label("full", 2.0, 0.95), Label("freeze", 1.0, 0.4)]


def placed(labels: list[Label], points: list[tuple[float, float]] | None = None) -> dict[str, Text]:
    """The texts in a figure after ``place``, by their label."""
    with styled():
        axes = figure(height=3.7).subplots()
        axes.set_xlim(0, 2.5)
        axes.set_ylim(0, 1)
        place(axes, labels, points or [])
        return {text.get_text(): text for text in axes.texts if text.get_text()}


def test_labels_of_one_point_do_not_cover_one_another() -> None:
    boxes = [text.get_window_extent() for text in placed(SAME_POINT).values()]
    assert len(boxes) == len(SAME_POINT)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_label_does_not_cover_its_point_or_others() -> None:
    points = [(2.0, 0.95), (1.95, 0.9), (1.0, 0.4)]
    for text in placed(FAR_APART, points).values():
        box = text.get_window_extent()
        assert text.axes is not None
        assert not any(box.contains(*text.axes.transData.transform(point)) for point in points)


def test_a_label_stays_near_its_point_and_inside_the_frame() -> None:
    for label, text in zip(FAR_APART, placed(FAR_APART).values(), strict=True):
        assert text.axes is not None
        x, y = text.axes.transData.transform((label.x, label.y))
        assert text.get_window_extent().padded(20).contains(x, y)
        frame = text.axes.get_window_extent()
        box = text.get_window_extent()
        assert frame.x0 <= box.x0
        assert box.x1 <= frame.x1


def test_labels_are_placed_the_same_way_every_time() -> None:
    first, second = placed(SAME_POINT), placed(SAME_POINT)
    assert [t.get_position() for t in first.values()] == [t.get_position() for t in second.values()]
