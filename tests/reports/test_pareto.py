"""The Pareto front against examples worked by hand."""

from reports.statistics.pareto import Point, front


def names(points: list[Point], higher_is_better: bool = True) -> list[str]:
    return [point.name for point in front(points, higher_is_better)]


def test_a_point_that_costs_more_and_gives_less_is_not_on_the_front() -> None:
    points = [
        Point("full", 2.5, 0.98),
        Point("freeze", 1.1, 0.44),
        Point("lora", 1.0, 0.97),
        Point("nf4", 0.9, 0.93),
    ]
    assert names(points) == ["nf4", "lora", "full"]


def test_lower_is_better_turns_the_front_around() -> None:
    points = [Point("full", 2.5, 0.30), Point("freeze", 1.1, 0.90), Point("lora", 1.0, 0.35)]
    assert names(points, higher_is_better=False) == ["lora", "full"]


def test_points_equal_in_both_are_both_kept() -> None:
    assert names([Point("b", 1.0, 0.9), Point("a", 1.0, 0.9), Point("c", 2.0, 0.9)]) == ["a", "b"]


def test_of_two_that_cost_the_same_only_the_better_is_kept() -> None:
    assert names([Point("worse", 1.0, 0.8), Point("better", 1.0, 0.9)]) == ["better"]


def test_costs_within_two_percent_are_equal() -> None:
    assert names([Point("better", 1.01, 0.9), Point("a hair cheaper", 1.0, 0.8)]) == ["better"]
    assert names([Point("better", 1.03, 0.9), Point("cheaper", 1.0, 0.8)]) == ["cheaper", "better"]
    assert names([Point("dearer", 1.015, 0.9), Point("as good", 1.0, 0.9)]) == ["as good", "dearer"]


def test_what_was_not_measured_is_left_out() -> None:
    points = [Point("a", None, 0.99), Point("b", 0.5, None), Point("c", 1.0, 0.5), Point("free", 0.0, 0.0)]
    assert names(points) == ["free", "c"]


def test_no_points_make_an_empty_front() -> None:
    assert front([]) == []
