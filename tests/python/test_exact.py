"""Exact decisions: against enumeration, brute force, and the Caffe net at what is found."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounds_samples import SHAPE, layer, write_net
from caffe_ext.certification.bounds import Bounder, LogitBounds, make_pixel_box
from caffe_ext.certification.exact import (
    SEARCHES,
    Decider,
    Decision,
    ExactMethod,
    Pixels,
    Search,
    Subject,
    find_largest,
    measure_distance,
)
from caffe_ext.certification.largest_radius import TOLERANCE
from caffe_ext.certification.layers import LinearLayer
from caffe_ext.certification.mixed_integer import (
    Limits,
    Minimum,
    Program,
    build_layer_matrix,
    encode_network,
)
from caffe_ext.certification.network import BoundableNetwork, read_network
from caffe_ext.certification.perturbations import PixelBall, is_whole
from caffe_ext.models.base import Images
from caffe_ext.models.description import ModelDescription
from caffe_ext.models.pixels import PixelSpace
from exact_reference import least_margin
from test_bounds import PIECES, net_of, points_within

RANDOM = np.random.default_rng(7)
IMAGE = RANDOM.integers(0, 256, SHAPE, dtype=np.uint8)
SMALL = (1, 1, 3)
ANY = Limits(60, 1e6)


def hidden(*units: int) -> tuple[str, str]:
    """Return fully connected layers with ReLUs, and the last blob."""
    text, last = "", "data"
    for number, count in enumerate(units):
        settings = f"inner_product_param {{ num_output: {count} }}"
        text += layer(f"ip{number}", "InnerProduct", last, settings)
        last = f"relu{number}"
        text += layer(last, "ReLU", f"ip{number}")
    return text, last


def encode(network: BoundableNetwork, image: Images, radius: float, *, whole: bool) -> Program:
    ball = PixelBall(image, radius, whole, network.pixel_space)
    bounds = Bounder(network, "crown").bound_nodes(ball.make_box())
    return encode_network(network, ball.compute_changes(), ball.make_box(), bounds, whole=whole)


@pytest.mark.parametrize("radius", [2.0, 30.0])
def test_the_least_margin_is_that_of_the_enumeration(tmp_path: Path, radius: float) -> None:
    network = read_network(write_net(tmp_path, *hidden(4, 3), 2))
    linear = [node for node in network.nodes if isinstance(node.layer, LinearLayer)]
    layers = []
    for node in linear:
        assert isinstance(node.layer, LinearLayer)
        found = build_layer_matrix(node.layer, node.shape)
        layers.append((found.matrix.toarray(), found.offset))
    box = make_pixel_box(network.pixel_space, IMAGE[None], np.array([radius]))
    program = encode(network, IMAGE, radius, whole=False)
    for target in (1, 3):
        expected = least_margin(layers, box.lower.ravel(), box.upper.ravel(), 0, target)
        minimum = program.minimize_margin(0, target, ANY, "least")
        assert minimum.bound == pytest.approx(expected, abs=1e-4)
    assert program.binaries > 0 or radius < 30


def check_minimum(description: ModelDescription, radius: float, target: int) -> Minimum:
    """Check that the net has the margin at the point, and a lower one nowhere."""
    network, model = read_network(description), description.load(64)
    program = encode(network, IMAGE, radius, whole=False)
    relaxed = program.minimize_margin(0, target, ANY, "relaxation")
    minimum = program.minimize_margin(0, target, ANY, "least")
    assert minimum.changes is not None
    point = np.clip(IMAGE + minimum.changes, 0, 255).astype(np.float32)
    logits = model.logits(np.concatenate([point[None], points_within(model, IMAGE, radius, 0)]))
    margins = logits[:, 0].astype(np.float64) - logits[:, target]
    assert relaxed.bound <= minimum.bound + 1e-4
    slack = 1e-4 * max(1.0, float(np.abs(logits).max()))
    assert margins[0] == pytest.approx(minimum.bound, abs=slack)
    assert (margins >= minimum.bound - slack).all()
    return minimum


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from(sorted(PIECES)), max_size=3),
    st.sampled_from([0.4, 3.0]),
    st.integers(0, 1000),
)
def test_the_net_has_the_least_margin_and_no_lower_one(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], radius: float, seed: int
) -> None:
    check_minimum(write_net(tmp_path_factory.mktemp("net"), *net_of(names), seed), radius, 2)


@pytest.mark.parametrize(
    "names",
    [
        ["strided", "relu", "overlapping", "dilated"],
        ["residual", "norm", "scale", "max"],
        ["overlapping", "relu", "average", "dropout"],
    ],
)
def test_the_net_has_the_least_margin_of_these(tmp_path: Path, names: list[str]) -> None:
    check_minimum(write_net(tmp_path, *net_of(names), 1), 6.0, 1)


def small_net(folder: Path, seed: int) -> ModelDescription:
    space = PixelSpace(0.3, 120)
    return write_net(folder, *hidden(12, 8), seed, shape=SMALL, space=space)


def small_image(seed: int) -> Images:
    """Return an image where the small nets have classes that are close together."""
    return np.random.default_rng(seed).integers(110, 130, SMALL, dtype=np.uint8)


def decide(
    description: ModelDescription,
    image: Images,
    radius: float,
    *,
    search: Search,
    pixels: Pixels,
    seconds: float = 60,
) -> Decision:
    """Return the decision for the class that the image has, without an attack."""
    model = description.load(64)
    decider = Decider(read_network(description), model, ExactMethod(search, pixels, attack=""))
    label = int(model.predict(image[None])[0])
    found = decider.decide(Subject(image, label), radius, seconds)
    assert (found.verdict == "vulnerable") == (found.adversarial is not None)
    if found.adversarial is not None:
        assert model.predict(found.adversarial[None])[0] != label
        assert found.adversarial.min() >= 0 and found.adversarial.max() <= 255
        assert measure_distance(found.adversarial, image) <= radius
        assert is_whole(found.adversarial) or pixels == "real"
    return found


@pytest.mark.parametrize("search", SEARCHES)
def test_whole_grey_levels_are_decided_as_by_brute_force(tmp_path: Path, search: Search) -> None:
    verdicts = []
    for seed in range(12):
        description = small_net(tmp_path / f"{seed}", seed)
        image = small_image(seed)
        ways = list(product(range(-3, 4), repeat=3))
        around = np.clip(image.ravel().astype(int) + np.array(ways), 0, 255).astype(np.uint8)
        classes = description.load(64).predict(around.reshape(-1, *SMALL))
        constant = len(set(classes.tolist())) == 1
        # 3.7 holds the same whole grey levels as 3.
        found = decide(description, image, 3.7, search=search, pixels="whole")
        assert found.verdict == ("robust" if constant else "vulnerable")
        verdicts.append((found.verdict, found.method))
    assert {("robust", search), ("vulnerable", search)} <= set(verdicts)


def test_both_searches_agree_and_no_point_contradicts(tmp_path: Path) -> None:
    verdicts = []
    for seed in range(12):
        description = small_net(tmp_path / f"{seed}", seed)
        image = small_image(seed)
        one, other = (decide(description, image, 4.5, search=it, pixels="real") for it in SEARCHES)
        assert one.verdict == other.verdict
        model = description.load(1000)
        label = int(model.predict(image[None])[0])
        offsets = np.random.default_rng(0).uniform(-4.5, 4.5, (5000, *SMALL))
        points = np.clip(image + offsets, 0, 255).astype(np.float32)
        if one.verdict == "robust":
            assert (model.predict(points) == label).all()
        verdicts.append((one.verdict, one.method))
    assert {("robust", "milp"), ("vulnerable", "milp")} <= set(verdicts)


def test_the_largest_radius(tmp_path: Path) -> None:
    for search in SEARCHES:
        for pixels in ("real", "whole"):
            description = small_net(tmp_path / f"{search}{pixels}", 3)
            model = description.load(64)
            image = np.full(SMALL, 160, np.uint8)
            subject = Subject(image, int(model.predict(image[None])[0]))
            method = ExactMethod(search, pixels)
            decider = Decider(read_network(description), model, method)
            robust, broken = find_largest(decider, subject, 60, {})
            assert 0 < robust < broken < 255
            assert broken - robust <= (1 if pixels == "whole" else TOLERANCE)
            assert decider.decide(subject, robust, 60).verdict == "robust"
            assert decider.decide(subject, broken, 60).verdict == "vulnerable"


@pytest.mark.parametrize("pixels", ["real", "whole"])
@pytest.mark.parametrize("end", [21.0, 300.0])
def test_the_largest_radius_beside_undecided_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: Pixels, end: float
) -> None:
    """Robust to 5.3, vulnerable from `end` on, and undecided in between."""
    description = small_net(tmp_path, 3)
    method = ExactMethod(pixels=pixels)
    decider = Decider(read_network(description), description.load(1), method)
    asked: list[float] = []

    def pretend(subject: Subject, radius: float, seconds: float) -> Decision:
        asked.append(radius)
        if radius <= 5.3:
            return Decision("robust", "milp", 0.1)
        if radius < end:
            return Decision("undecided", "milp", -1.0)
        return Decision("vulnerable", "milp", -1.0, adversarial=subject.image + np.float32(radius))

    monkeypatch.setattr(decider, "decide", pretend)
    robust, broken = find_largest(decider, Subject(np.zeros(SMALL, np.uint8), 0), 1, {})
    assert 4.3 <= robust <= 5.3 and len(asked) < 20
    assert broken == float("inf") if end > 255 else end <= broken <= end + 1


def test_an_image_is_undecided_when_the_time_is_over(tmp_path: Path) -> None:
    text, last = hidden(40, 40, 40)
    description = write_net(tmp_path, text, last, 1, space=PixelSpace(0.2, 120))
    found = decide(description, IMAGE, 8.0, search="milp", pixels="real", seconds=0)
    bounds = Bounder(read_network(description)).bound(
        IMAGE[None], description.load(1).predict(IMAGE[None]), np.array([8.0])
    )
    assert (found.verdict, found.method) == ("undecided", "milp")
    assert bounds.margins.min() <= found.margin < 0


def test_a_crop_keeps_what_it_cuts_off_and_colours_keep_their_place(tmp_path: Path) -> None:
    space = PixelSpace(0.05, np.array([100, 110, 120]), "BGR", crop=2)
    image = np.random.default_rng(1).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    text, last = hidden(6)
    deploy = write_net(tmp_path, text, last, 1, shape=(3, 2, 2), space=space)
    found = decide(deploy, image, 60, search="milp", pixels="real")
    assert found.verdict == "vulnerable" and found.adversarial is not None
    changed = found.adversarial != image
    assert changed[:, 1:3, 1:3].any()
    changed[:, 1:3, 1:3] = False
    assert not changed.any()


def test_what_makes_no_decision(tmp_path: Path) -> None:
    description = write_net(tmp_path, *net_of(["conv", "relu"]))
    network, model = read_network(description), description.load(1)
    with pytest.raises(ValueError, match="must be one of milp, branch, not 'sat'"):
        ExactMethod("sat")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must be one of real, whole, not 'half'"):
        ExactMethod(pixels="half")  # type: ignore[arg-type]
    for radius in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a radius must be 0 or more"):
            Decider(network, model, ExactMethod()).decide(Subject(IMAGE, 0), radius, 1)


def test_margins_that_are_not_known_are_not_positive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounds of NaN decide nothing, and neither does a solver without a threshold."""
    description = write_net(tmp_path, *net_of(["conv", "relu"]))
    decider = Decider(read_network(description), description.load(1), ExactMethod(attack=""))
    label = int(decider.model.predict(IMAGE[None])[0])
    nothing = np.full((1, 4), np.nan)
    monkeypatch.setattr(
        type(decider._bounder), "bound", lambda *_: LogitBounds(nothing, nothing, nothing)
    )
    decision = decider.decide(Subject(IMAGE, label), 5.0, 10)
    assert decision.verdict == "undecided"
