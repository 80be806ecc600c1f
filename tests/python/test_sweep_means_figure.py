"""sweeps/means_figure.py: where its axes end."""

from typing import Any

import pytest

from caffe_ext.sweeps.means import average_rows
from caffe_ext.sweeps.means_figure import draw_means, find_core


@pytest.mark.parametrize(
    ("values", "core"),
    [
        ([99.1, 99.2, 99.0, 11.35], (99.0, 99.2)),
        ([0.0, 99.1, 99.2, 99.0, 99.3, 400.0], (99.0, 99.3)),
        ([90.0, 92.0, 1.0, 2.0, 3.0, 4.0], (1.0, 4.0)),
        ([0.0, 61.0, 99.0, 98.0], (0.0, 99.0)),  # as far apart as the others
        ([1.0, 2.0, 90.0, 91.0], (1.0, 91.0)),  # not few
        ([5.0, 5.0, 5.0, 9.0], (5.0, 9.0)),
        ([5.0, 9.0], (5.0, 9.0)),
        ([5.0], (5.0, 5.0)),
    ],
)
def test_what_is_far_from_the_others(values: list[float], core: tuple[float, float]) -> None:
    assert find_core(values) == core
    assert find_core(reversed(values)) == core


def test_values_that_are_left_out_are_written() -> None:
    rows = [
        {
            "baseline": False,
            "variant": name,
            "random_seed": seed,
            "state": "done",
            "accuracy": value,
        }
        for name, values in {"A": (0.9, 0.91), "B": (0.92, 0.93), "C": (0.1135, 0.94)}.items()
        for seed, value in enumerate(values)
    ]
    axes: dict[str, list[Any]] = {"variant": ["A", "B", "C"], "random_seed": [0, 1]}
    published = {"A": {"accuracy": 0.905}, "B": {"accuracy": 0.12}}
    found = average_rows(rows, axes, ["accuracy"], published)
    (panel,) = draw_means(found, {"accuracy": "accuracy"}).axes
    assert [(text.get_position()[1], text.get_text()) for text in panel.texts] == [
        (1, "\u2190 \u25c7 12"),
        (2, "\u2190 11.35"),
    ]
    low, high = panel.get_xlim()
    assert 80 < low < 90
    assert 94 < high < 95
