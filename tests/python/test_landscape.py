"""The loss surface of small nets: its derivatives, reduced nets, minima and transition states."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_ext.errors import RecordError
from caffe_ext.studies.landscape.correlation import correlate
from caffe_ext.studies.landscape.network import (
    Doubles,
    Widths,
    compute_logits,
    count_parameters,
    join_layers,
    split_parameters,
)
from caffe_ext.studies.landscape.paths import find_path, match_nets
from caffe_ext.studies.landscape.quench import descend, initialize_net, quench
from caffe_ext.studies.landscape.reduction import (
    align_units,
    pad_net,
    reduce_net,
    reorder_units,
)
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.search import collect_minima
from caffe_ext.studies.landscape.stationary import (
    StationaryPoint,
    compute_way_down,
    find_stationary_point,
)
from caffe_ext.studies.landscape.store import (
    Connection,
    State,
    read_connection,
    write_connection,
)
from caffe_ext.studies.landscape.transition import (
    descend_both_sides,
    descend_on_kink,
    find_falling_kink,
    find_transition_state,
    hold_kink,
    settle_on_kink,
)
from caffe_ext.studies.landscape.tree import Edge, build_tree
from landscape_samples import STATE, STATE_ENERGY, STATE_KINK, STATE_WIDTHS, SURFACE

SAMPLES = load_iris_samples()
WIDTHS: Widths = (4, 3, 4, 3)


def draw(widths: Widths, seed: int = 0) -> Doubles:
    return np.random.default_rng(seed).normal(size=count_parameters(widths))


@pytest.fixture(scope="module")
def minimum() -> StationaryPoint:
    """Return the minimum of a net with two hidden layers of three units."""
    for seed in range(5):
        start = initialize_net((4, 3, 3, 3), np.random.default_rng(seed))
        found = quench(SURFACE, start, (4, 3, 3, 3))
        if found is not None and found.is_minimum:
            return found
    pytest.fail("no minimum")


@pytest.fixture(scope="module")
def state() -> StationaryPoint:
    moved = STATE + 1e-4 * np.random.default_rng(0).normal(size=len(STATE))
    held = descend_on_kink(SURFACE, moved, STATE_WIDTHS, STATE_KINK)
    found = find_stationary_point(SURFACE, held, STATE_WIDTHS)
    assert found is not None
    return found


def test_the_samples_are_fisher_s() -> None:
    assert SAMPLES.inputs.shape == (150, 4)
    assert np.bincount(SAMPLES.labels).tolist() == [50, 50, 50]
    assert SAMPLES.ranges == pytest.approx([3.6, 2.4, 5.9, 2.4])
    assert np.bincount(SAMPLES.labels[SAMPLES.few]).tolist() == [10, 10, 10]


def test_the_loss_is_that_of_the_definition() -> None:
    point = draw(WIDTHS)
    logits = compute_logits(point, WIDTHS, SAMPLES.inputs)
    powers = np.exp(logits)
    likelihoods = powers[np.arange(150), SAMPLES.labels] / powers.sum(axis=1)
    expected = -np.log(likelihoods).mean() + 0.001 * (point**2).sum()
    assert SURFACE.compute_pass(point, WIDTHS).energy == pytest.approx(expected, rel=1e-12)


@given(seed=st.integers(0, 1000), sharpness=st.sampled_from([None, 1.0, 20.0]))
@settings(max_examples=10, deadline=None)
def test_the_derivatives_are_those_of_differences(seed: int, sharpness: float | None) -> None:
    point, size = draw(WIDTHS, seed), 1e-6
    steps = size * np.eye(len(point))
    after, before = (
        [SURFACE.evaluate(point + sign * step, WIDTHS, sharpness) for step in steps]
        for sign in (1, -1)
    )
    gradient = SURFACE.evaluate(point, WIDTHS, sharpness)[1]
    expected = np.array([(a[0] - b[0]) / (2 * size) for a, b in zip(after, before, strict=True)])
    assert gradient == pytest.approx(expected, abs=1e-7)
    hessian = SURFACE.compute_hessian(point, WIDTHS, sharpness)
    rows = np.array([(a[1] - b[1]) / (2 * size) for a, b in zip(after, before, strict=True)])
    assert hessian == pytest.approx(rows, abs=1e-5 * max(1, np.abs(rows).max()))


def test_a_unit_s_gradient_is_that_of_differences() -> None:
    point, size = draw(WIDTHS), 1e-6
    found = SURFACE.compute_pass(point, WIDTHS)
    place = (1, 70, 2)
    gradient = SURFACE.differentiate_values(point, WIDTHS, found, np.array([place]))[0]
    for number in range(0, len(point), 3):
        step = size * np.eye(len(point))[number]
        one, other = (
            SURFACE.compute_pass(it, WIDTHS).values[1][70, 2] for it in (point + step, point - step)
        )
        assert gradient[number] == pytest.approx((one - other) / (2 * size), abs=1e-6)


def test_units_that_are_split_or_do_nothing_are_removed() -> None:
    layers = [layer.copy() for layer in split_parameters(draw(WIDTHS), WIDTHS)]
    first, second = layers[0][0].copy(), layers[1][:, 0].copy()
    layers[0] = np.vstack([layers[0], 0.8 * first, np.zeros(5)])
    layers[0][0] = 0.6 * first
    layers[1] = np.hstack(
        [layers[1][:, :-1], 0.8 * second[:, None], np.ones((4, 1)), layers[1][:, -1:]]
    )
    layers[1][:, 0] = 0.6 * second
    wide, widths = join_layers(layers)
    reduced, narrow = reduce_net(wide, widths, least=1e-6, angle=1e-6)
    assert narrow == WIDTHS
    expected = compute_logits(draw(WIDTHS), WIDTHS, SAMPLES.inputs)
    assert compute_logits(reduced, narrow, SAMPLES.inputs) == pytest.approx(expected)
    assert (reduced**2).sum() < (draw(WIDTHS) ** 2).sum()  # balanced: |w| = |v|
    padded = pad_net(reduced, narrow, (4, 5, 6, 3))
    assert compute_logits(padded, (4, 5, 6, 3), SAMPLES.inputs) == pytest.approx(expected)


def test_the_order_of_units_does_not_matter() -> None:
    point = draw(WIDTHS)
    orders = [np.array([2, 0, 1]), np.array([1, 3, 0, 2])]
    other = reorder_units(point, WIDTHS, orders)
    assert np.abs(other - point).max() > 0.1
    assert (align_units(other, WIDTHS, point) == point).all()


def test_nothing_near_a_minimum_is_lower(minimum: StationaryPoint) -> None:
    assert minimum.residual < 1e-8
    assert minimum.signs[0] == 0
    rng = np.random.default_rng(3)
    for size in (1e-5, 1e-3):
        for _ in range(300):
            moved = minimum.parameters + size * rng.normal(size=len(minimum.parameters))
            energy = SURFACE.compute_pass(moved, minimum.widths).energy
            assert energy >= minimum.energy - 1e-13


def test_the_slopes_of_the_kinks_make_the_gradient_zero(minimum: StationaryPoint) -> None:
    """By hand: the gradients on all sides of the kinks, combined."""
    found = SURFACE.compute_pass(minimum.parameters, minimum.widths)
    slopes = [(values > 0).astype(np.float64) for values in found.values[:-1]]
    for (layer, row, unit), slope in minimum.kinks.items():
        assert abs(found.values[layer][row, unit]) < 1e-8
        assert 0 < slope < 1
        slopes[layer][row, unit] = slope
    again = SURFACE.compute_pass(minimum.parameters, minimum.widths, slopes=slopes)
    assert np.abs(SURFACE.compute_gradient(minimum.parameters, again)).max() < 1e-8


def test_a_start_at_a_minimum_ends_there(minimum: StationaryPoint) -> None:
    padded = pad_net(minimum.parameters, minimum.widths, (4, 5, 5, 3))
    found = quench(SURFACE, padded, (4, 5, 5, 3), (None,))
    assert found is not None
    assert found.energy == pytest.approx(minimum.energy, abs=1e-9)
    assert len(collect_minima([minimum, found, minimum], SAMPLES.inputs)) == 1


def test_a_saddle_is_no_minimum() -> None:
    """With all weights 0, and the biases that fit: new units would lower the loss."""
    widths: Widths = (4, 1, 3)
    found = find_stationary_point(SURFACE, np.zeros(count_parameters(widths)), widths)
    assert found is None or not found.is_minimum


def test_a_transition_state_falls_on_both_sides_of_its_kink(state: StationaryPoint) -> None:
    assert state.is_transition_state
    assert state.residual < 1e-8
    assert state.falling == (STATE_KINK,)
    assert state.signs[0] == 0
    assert state.energy == pytest.approx(STATE_ENERGY, abs=1e-9)
    down = compute_way_down(SURFACE, state)
    for step in (-1e-4, 1e-4):
        moved = state.parameters + step * down
        assert SURFACE.compute_pass(moved, state.widths).energy < state.energy - 1e-10


def test_it_is_a_minimum_among_the_nets_with_its_kink(state: StationaryPoint) -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        moved = state.parameters + 1e-4 * rng.normal(size=len(state.parameters))
        held = hold_kink(SURFACE, moved, STATE_WIDTHS, STATE_KINK)
        found = SURFACE.compute_pass(held, STATE_WIDTHS)
        assert abs(found.values[0][41, 2]) < 1e-12
        assert found.energy >= state.energy - 1e-13


def test_it_is_the_same_from_its_file(state: StationaryPoint, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_connection(path, Connection(0.5, 2, [State(state, [state, None])]))
    read = read_connection(path, (4, 25, 25, 25, 3))
    assert (read.highest, read.candidates) == (0.5, 2)
    (found,) = read.states
    assert found.below[1] is None
    for point in (found.point, found.below[0]):
        assert point is not None
        assert point.is_transition_state
        assert (point.parameters == state.parameters).all()
        assert (point.kinks, point.falling) == (state.kinks, state.falling)
        assert (point.signs, point.energy) == (state.signs, state.energy)
    with pytest.raises(RecordError, match=r"x\.json is damaged: .* are not within"):
        read_connection(path, (4, 3, 25, 25, 3))


def test_two_minima_are_below_it(state: StationaryPoint) -> None:
    below = descend_both_sides(SURFACE, state, (4, 25, 25, 25, 3))
    energies = [it.energy for it in below if it is not None and it.is_minimum]
    assert len(energies) == 2
    assert max(energies) < state.energy
    assert abs(energies[0] - energies[1]) > 1e-7


def test_it_is_found_from_the_line_through_it(state: StationaryPoint) -> None:
    down = compute_way_down(SURFACE, state)
    before, behind = (state.parameters + step * down for step in (-0.003, 0.002))
    point, kink = find_falling_kink(SURFACE, before, behind, STATE_WIDTHS)
    assert kink == STATE_KINK
    assert np.abs(point - state.parameters).max() < 1e-6
    found = settle_on_kink(SURFACE, point, STATE_WIDTHS, STATE_KINK, STATE_WIDTHS)
    assert found is not None
    assert found.energy == pytest.approx(state.energy, abs=1e-9)
    again = find_transition_state(SURFACE, before, behind, STATE_WIDTHS, STATE_WIDTHS)
    assert again is not None
    assert again.energy == pytest.approx(state.energy, abs=1e-9)


def test_a_path_leads_from_one_net_to_the_other(minimum: StationaryPoint) -> None:
    other_widths: Widths = (4, 2, 3, 3)
    other = descend(SURFACE, draw(other_widths, 4), other_widths, (None,), 300)
    nets = (minimum.parameters, minimum.widths), (other, other_widths)
    start, end, widths = match_nets(*nets, (4, 25, 25, 3))
    for (parameters, narrow), wide in zip(nets, (start, end), strict=True):
        expected = compute_logits(parameters, narrow, SAMPLES.inputs)
        assert compute_logits(wide, widths, SAMPLES.inputs) == pytest.approx(expected)
    path = find_path(SURFACE, start, end, widths, images=5)
    assert path.images[0] == pytest.approx(start)
    assert path.images[-1] == pytest.approx(end)
    ends = [SURFACE.compute_pass(it, widths).energy for it in (start, end)]
    line = [
        SURFACE.compute_pass((1 - share) * start + share * end, widths).energy
        for share in np.linspace(0, 1, 50)
    ]
    assert max(ends) <= path.highest < max(line)


def test_the_tree_merges_at_the_lowest_edges() -> None:
    edges = [
        Edge(0.9, 0, 2, certain=False),
        Edge(0.5, 0, 1, certain=True),
        Edge(0.7, 1, 2, certain=False),
    ]
    tree = build_tree([0.1, 0.2, 0.3, 0.4], edges)
    assert [sorted(it.minima) for it in tree] == [[0, 1, 2], [3]]
    top = tree[0]
    assert (top.energy, top.certain) == (0.7, False)
    assert [(it.energy, sorted(it.minima)) for it in top.parts] == [(0.5, [0, 1]), (0.3, [2])]


def test_correlations_and_their_intervals() -> None:
    rng = np.random.default_rng(2)
    energies = rng.normal(size=200)
    found = correlate(energies, np.exp(energies + rng.normal(size=200)))
    assert found is not None
    for it in (found.pearson, found.spearman):
        assert it.low < it.coefficient < it.high
        assert it.coefficient == pytest.approx(0.7, abs=0.1)
        assert 0.05 < it.high - it.low < 0.25
    assert correlate(energies[:3], np.exp(energies[:3])) is None
    assert correlate(energies, np.ones(200)) is None
