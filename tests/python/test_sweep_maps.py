"""Maps over two axes, and means over seeds, of a table whose figures are made up."""

from typing import Any

import numpy as np

from caffe_ext.sweeps.maps import draw_maps, draw_surfaces, make_maps
from caffe_ext.sweeps.means import average_rows, make_cells
from caffe_ext.sweeps.means_figure import draw_means


def test_maps_are_means_over_seeds_with_the_level_of_the_baseline() -> None:
    axes = {"a": [1, 2], "b.c": [3, 4], "random_seed": [1, 2]}
    table: list[dict[str, Any]] = [
        {
            "baseline": False,
            "state": "done",
            "a": a,
            "b.c": b,
            "random_seed": s,
            "x": 10 * a + b + s,
        }
        for a in (1, 2)
        for b in (3, 4)
        for s in (1, 2)
    ]
    table[-1] |= {"state": "failed", "x": None}
    base = [{"baseline": True, "state": "done", "x": level} for level in (14, 16)]
    (found,) = make_maps([*base, *table], axes, {"x": "X"})
    np.testing.assert_allclose(found.values, [[14.5, 15.5], [24.5, 25]])
    assert found.baseline == 15
    (place, *_) = draw_maps([found]).axes
    assert place.get_title() == "X\nregular training: 15"
    assert [one.get_text() for one in place.get_yticklabels()] == ["1", "2"]
    assert place.get_xlabel() == "c"
    (solid,) = draw_surfaces([found]).axes
    assert solid.get_title() == "X\nregular training: 15"
    lines: list[Any] = solid.get_lines()
    assert [line.get_data_3d()[2].tolist() for line in lines] == [[15, 15]] * 2
    assert make_maps(table, {"a": [1, 2], "random_seed": [1, 2]}, {"x": "X"}) == []


def test_nothing_is_drawn_above_100_percent() -> None:
    table: list[dict[str, Any]] = [
        {"baseline": False, "state": "done", "a": a, "b": b, "accuracy": 1.0}
        for a in (1, 2)
        for b in (3, 4)
    ]
    axes = {"a": [1, 2], "b": [3, 4]}
    maps = make_maps(table, axes, {"accuracy": "accuracy"})
    (field,) = draw_maps(maps).axes[0].get_images()
    assert field.get_clim() == (99, 100)
    (solid,) = draw_surfaces(maps).axes
    heights: Any = solid
    assert heights.get_zlim()[1] == 100
    means = draw_means(average_rows(table, axes, ["accuracy"]), {"accuracy": "accuracy"})
    assert 100 < means.axes[0].get_xlim()[1] < 101


def test_means_of_a_failed_and_a_baseline_point() -> None:
    table: list[dict[str, Any]] = [
        {"baseline": True, "state": "done", "a": None, "random_seed": 1, "accuracy": 0.5},
        {"baseline": False, "state": "done", "a": 1, "random_seed": 1, "accuracy": 0.25},
        {"baseline": False, "state": "failed", "a": 1, "random_seed": 2, "accuracy": None},
        {"baseline": False, "state": "missing", "a": 2, "random_seed": 1, "accuracy": None},
    ]
    found = average_rows(table, {"a": [1, 2], "random_seed": [1, 2]}, ["accuracy"])
    assert make_cells(found, ["accuracy"]) == [
        ["a", "points", "accuracy"],
        ["baseline", "1", "50.00%"],
        ["1", "1", "25.00%"],
        ["2", "0", "–"],
    ]
    figure = draw_means(found, {"accuracy": "accuracy"})
    assert [one.get_text() for one in figure.axes[0].get_yticklabels()] == ["baseline", "1", "2"]
