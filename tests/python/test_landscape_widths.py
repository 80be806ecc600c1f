"""Bounds and exact widths of logits: against the reference, an enumeration, and one another."""

from importlib.util import find_spec

import numpy as np
import pytest

from bounds_reference import dual_bounds
from caffe_ext.certification.bounds import MARGIN, Bounder
from caffe_ext.certification.layers import Interval
from caffe_ext.studies.landscape import marabou
from caffe_ext.studies.landscape.marabou import MarabouError
from caffe_ext.studies.landscape.network import (
    Doubles,
    Widths,
    compute_logits,
    count_parameters,
    split_parameters,
)
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.sensitivity import (
    Box,
    compute_dual_bounds,
    measure_sensitivity,
)
from caffe_ext.studies.landscape.widths import (
    TOLERANCE,
    WIDTH_METHODS,
    WidthMethod,
    find_ranges,
    make_network,
)
from exact_reference import least_margin

SAMPLES = load_iris_samples()
RADII = 0.2 * SAMPLES.ranges
WIDTHS: Widths = (4, 3, 3, 3)
NUMBER = 70


def draw(widths: Widths, seed: int) -> Doubles:
    return np.random.default_rng(seed).normal(size=count_parameters(widths))


@pytest.mark.parametrize("sigma", [0.0, 0.05, 0.3])
def test_the_dual_bound_is_the_reference_s(sigma: float) -> None:
    widths: Widths = (4, 6, 5, 4, 3)
    point, radii = draw(widths, 0), sigma * SAMPLES.ranges
    layers = [(it[:, :-1], it[:, -1]) for it in split_parameters(point, widths)]
    lower, upper = compute_dual_bounds(point, widths, SAMPLES.inputs, radii)
    sizes = measure_sensitivity(point, widths, SAMPLES.inputs, radii)
    for number in range(0, 150, 30):
        expected = dual_bounds(layers, SAMPLES.inputs[number], radii)[-1]
        assert lower[number] == pytest.approx(expected[0], abs=1e-10)
        assert upper[number] == pytest.approx(expected[1], abs=1e-10)
        product = float(np.prod(expected[1] - expected[0]))
        assert sizes[number] == pytest.approx(product, abs=1e-8)


def test_it_is_that_of_certification() -> None:
    widths: Widths = (4, 6, 5, 3)
    point = draw(widths, 1)
    lower, upper = compute_dual_bounds(point, widths, SAMPLES.inputs, RADII)
    shape = (150, 4, 1, 1)
    box = Interval(*((SAMPLES.inputs + sign * RADII).reshape(shape) for sign in (-1, 1)))
    found = Bounder(make_network(point, widths), "dual").bound_boxes(box, SAMPLES.labels)
    largest = np.abs([found.lower, found.upper]).max()
    for mine, theirs in ((lower, found.lower), (upper, found.upper)):
        assert np.abs(mine - theirs).max() < 2 * MARGIN * largest
    assert (found.lower < lower).all()
    assert (upper < found.upper).all()


def list_methods() -> list[object]:
    missing = pytest.mark.skipif(
        find_spec("maraboupy") is None, reason="maraboupy is not installed"
    )
    return [pytest.param(it, marks=missing) if it == "marabou" else it for it in WIDTH_METHODS]


@pytest.mark.parametrize("method", list_methods())
@pytest.mark.parametrize("seed", [19, 24, 26])
def test_exact_ranges_are_those_of_the_enumeration(method: WidthMethod, seed: int) -> None:
    """All patterns of the ReLUs; the fourth logit is 0, so that margins to it are logits."""
    point = draw(WIDTHS, seed)
    centre = SAMPLES.inputs[NUMBER]
    layers = [(it[:, :-1], it[:, -1]) for it in split_parameters(point, WIDTHS)]
    weights, bias = layers[-1]
    layers[-1] = np.vstack([weights, np.zeros(weights.shape[1])]), np.append(bias, 0.0)
    lower, upper = centre - RADII, centre + RADII
    expected = np.array(
        [
            (least_margin(layers, lower, upper, it, 3), -least_margin(layers, lower, upper, 3, it))
            for it in range(3)
        ]
    )
    outer = compute_dual_bounds(point, WIDTHS, centre[None], RADII)
    width = float((outer[1] - outer[0]).max())
    allowed = 1e-6 if method == "milp" else 1.01 * TOLERANCE * width
    # Marabou's verdicts have tolerances of their own.
    slack = 2e-3 * width if method == "marabou" else 1e-6
    found = find_ranges((point, WIDTHS), Box(centre, RADII), method)
    for bound, reached, exact, sign in (
        (found.least, found.reached_least, expected[:, 0], 1),
        (found.most, found.reached_most, expected[:, 1], -1),
    ):
        assert (sign * (exact - bound) >= -slack).all()
        assert (sign * (reached - exact) >= -1e-6).all()
        assert np.abs(reached - bound).max() <= allowed
    dual = (outer[1] - outer[0])[0]
    assert (found.upper <= dual * (1 + 1e-9)).all()
    assert (found.upper < 0.99 * dual).any()


@pytest.mark.parametrize("method", ["milp", "branch"])
def test_no_point_is_outside(method: WidthMethod) -> None:
    widths: Widths = (4, 5, 4, 3)
    point = draw(widths, 5)
    centre = SAMPLES.inputs[NUMBER]
    found = find_ranges((point, widths), Box(centre, RADII), method)
    moves = np.random.default_rng(0).uniform(-1, 1, (2000, 4))
    moves[:1000] = np.sign(moves[:1000])
    logits = compute_logits(point, widths, centre + moves * RADII)
    assert (logits >= found.least - 1e-6).all()
    assert (logits <= found.most + 1e-6).all()
    assert (found.reached_least <= logits.min(axis=0) + 1e-3 * found.upper).all()


@pytest.mark.parametrize("method", ["milp", "branch"])
def test_a_box_of_one_point_has_no_width(method: WidthMethod) -> None:
    point, centre = draw(WIDTHS, 0), SAMPLES.inputs[0]
    found = find_ranges((point, WIDTHS), Box(centre, np.zeros(4)), method)
    assert found.upper == pytest.approx(0, abs=1e-6)
    expected = compute_logits(point, WIDTHS, centre[None])[0]
    assert found.reached_most == pytest.approx(expected)


def test_without_time_the_bounds_are_those_of_the_start() -> None:
    """They stay outside of what is reached."""
    widths: Widths = (4, 12, 12, 12, 3)
    point, centre = draw(widths, 3), SAMPLES.inputs[NUMBER]
    found = find_ranges((point, widths), Box(centre, RADII), "branch", 1e-9)
    assert (found.upper > 1.05 * found.lower).any()
    outer = compute_dual_bounds(point, widths, centre[None], RADII)
    assert found.least == pytest.approx(outer[0][0])
    assert found.most == pytest.approx(outer[1][0])


def test_marabou_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marabou, "find_spec", lambda _: None)
    with pytest.raises(MarabouError, match="Marabou is not installed: `pip install maraboupy"):
        find_ranges((draw(WIDTHS, 0), WIDTHS), Box(SAMPLES.inputs[0], RADII), "marabou")
