"""attacks/pgd.py: steps computed by hand, and iterates that stay in the perturbation budget."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from attack_samples import bent_net, labels, linear, random_rows, rows
from caffe_ext.attacks import ball
from caffe_ext.attacks.base import AttackResult
from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.directions import FastGradient, HotCold, LogitMargin
from caffe_ext.attacks.pgd import ProjectedGradient
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.models.classifier import Classifier

pytestmark = pytest.mark.any_device

QUICK = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MARGIN = LogitMargin()


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Return a net whose gradient changes from place to place."""
    return bent_net(tmp_path_factory.mktemp("bent"), (6, 12, 4), batch_size=4)


def attack(
    classifier: Classifier, images: NDArray[np.uint8], which: Any, *, first: int = 0, **given: Any
) -> AttackResult:
    """Run along the margin's gradient."""
    indices = first + np.arange(len(images))
    return along(**given).run(classifier, images, Misclassification(which), indices)


def along(
    direction: Any = MARGIN, *, norm: Any = "linf", epsilon: float = 8, seed: int = 0, **given: Any
) -> ProjectedGradient:
    """Return an attack."""
    budget = PerturbationBudget(norm, epsilon)
    return ProjectedGradient(
        direction, budget, start_seed=seed, **{"step": 1, "iterations": 5} | given
    )


def test_linf_steps_by_hand(tmp_path: Path) -> None:
    # Class 1 above x0 - x1 = 20.5; the gradient's sign is (1, -1) everywhere.
    classifier = linear(tmp_path, [[0, 0], [1, -1]], [20.5, 0])
    images = rows([100, 100], [100, 100], [100, 2], [0, 255])
    which = labels(0, 0, 1, 0)
    found = attack(classifier, images[:1], which[:1], epsilon=20, step=4, iterations=40)
    # 8 apart after each step: 3 steps, 112 and 88; of these 12 grey levels 11 are needed.
    assert found.adversarials.ravel().tolist() == [111, 89]
    assert found.step_lengths.tolist() == [11]
    assert found.classes.tolist() == [1]
    less = attack(classifier, images[:1], which[:1], epsilon=20, step=4, iterations=2)
    assert not less.found.any()
    assert np.array_equal(less.adversarials, images[:1])
    assert np.isnan(less.step_lengths).all()
    small = attack(classifier, images[:1], which[:1], epsilon=10, step=4, iterations=40)
    assert not small.found.any()  # 110 and 90 at most
    barely = attack(classifier, images[:1], which[:1], epsilon=11, step=4, iterations=40)
    assert barely.adversarials.ravel().tolist() == [111, 89]
    every = attack(classifier, images, which, epsilon=50, step=10, iterations=9)
    assert every.found.tolist() == [True, True, True, False]
    # The last but one goes the other way: 98 apart, less than 20.5 after four steps, 0 is the end.
    assert every.adversarials[2].ravel().tolist() == [61, 41]


def test_l2_steps_by_hand(tmp_path: Path) -> None:
    # The gradient is (3, 4), so that a step of 10 is (6, 8).
    classifier = linear(tmp_path, [[0, 0], [3, 4]], [1000, 0])
    found = attack(
        classifier, rows([100, 100]), labels(0), norm="l2", epsilon=70, step=10, iterations=20
    )
    # 700 + 50 k > 1000 needs 7 steps, to (142, 156); (136, 149) on the way is enough: 1004.
    assert found.adversarials.ravel().tolist() == [136, 149]
    assert found.step_lengths.tolist() == [49]
    less = attack(
        classifier, rows([100, 100]), labels(0), norm="l2", epsilon=59, step=10, iterations=20
    )
    assert not less.found.any()  # 700 + 5 * 59 = 995 at most


@pytest.mark.parametrize("epsilon", [7.5, 7.6, 7.999])
@pytest.mark.parametrize("random_start", [False, True])
def test_a_ball_that_ends_between_whole_grey_levels(
    tmp_path: Path, epsilon: float, random_start: bool
) -> None:
    # Rounding takes 7.6 to 8, out of the ball: 7 is as far as it goes, and far enough for 13.5.
    classifier = linear(tmp_path, [[0, 0], [1, -1]], [13.5, 0])
    found = attack(
        classifier,
        rows([100, 100]),
        labels(0),
        epsilon=epsilon,
        step=1,
        iterations=40,
        random_start=random_start,
    )
    assert found.found.all()
    assert found.adversarials.ravel().tolist() == [107, 93]


IMAGES = arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(1), st.just(1), st.just(6)))


@QUICK
@given(
    IMAGES,
    st.sampled_from(["linf", "l2"]),
    st.floats(1, 255),
    st.floats(0.05, 100),
    st.booleans(),
    st.integers(0, 5),
)
def test_nothing_leaves_the_ball(  # noqa: PLR0917
    bent: Classifier,
    images: NDArray[np.uint8],
    norm: Any,
    epsilon: float,
    step: float,
    random_start: bool,
    seed: int,
) -> None:
    before, which = images.copy(), bent.predict(images)
    found = attack(
        bent,
        images,
        which,
        norm=norm,
        epsilon=epsilon,
        step=step,
        iterations=6,
        random_start=random_start,
        seed=seed,
    )
    assert np.array_equal(images, before)
    differences = found.adversarials.astype(int) - images
    linf = np.abs(differences).max(axis=(1, 2, 3))
    size = linf if norm == "linf" else np.sqrt((differences**2).sum(axis=(1, 2, 3)))
    assert (size <= epsilon * (1 + 1e-12)).all()
    where = found.found
    assert np.array_equal(found.step_lengths[where], linf[where])
    assert not differences[~where].any()
    again = bent.predict(found.adversarials)
    assert np.array_equal(again[where], found.classes[where])
    assert (again[where] != which[where]).all()
    assert (found.classes[~where] == -1).all()


def test_every_image_s_random_start_is_its_own(bent: Classifier) -> None:
    images = random_rows(9)
    which = bent.predict(images)
    for norm in ("linf", "l2"):
        settings_: Any = {"norm": norm, "epsilon": 60, "step": 5, "iterations": 4}
        settings_ |= {"random_start": True, "seed": 4}
        whole = attack(bent, images, which, **settings_)
        assert whole.found.any()
        assert np.array_equal(
            whole.adversarials, attack(bent, images, which, **settings_).adversarials
        )
        alone = attack(bent, images[5:], which[5:], first=5, **settings_)
        assert np.array_equal(alone.adversarials, whole.adversarials[5:])
        other = attack(bent, images, which, **settings_ | {"seed": 5})
        assert not np.array_equal(other.adversarials, whole.adversarials)
        # The same image twice: two starts.
        twice = np.repeat(images[:1], 2, axis=0)
        points = along(**settings_)._make_start(twice, np.array([0, 1]))
        assert not np.array_equal(points[0], points[1])


def test_random_starts_fill_the_ball() -> None:
    images = np.full((4000, 1, 1, 3), 128, np.uint8)
    for norm, share in (("linf", 1 / 8), ("l2", 1 / 8)):
        started = along(norm=norm, epsilon=80, random_start=True)
        points = started._make_start(images, np.arange(4000)) - 128
        flat = points.reshape(-1, 3)
        size = np.abs(flat).max(axis=1) if norm == "linf" else np.sqrt((flat**2).sum(axis=1))
        assert size.max() <= 80
        assert size.max() > 79
        # Half of the radius holds (1/2)^3 of the volume.
        assert np.mean(size <= 40) == pytest.approx(share, abs=0.025)
        assert np.abs(flat.mean(axis=0)).max() < 3


def test_images_without_a_gradient_stay(tmp_path: Path) -> None:
    classifier = linear(tmp_path, [[0, 0], [0, 0]], [1, 0])
    for norm in ("linf", "l2"):
        found = attack(
            classifier, rows([5, 6]), labels(0), norm=norm, epsilon=9, step=1, iterations=3
        )
        assert not found.found.any()
        assert found.adversarials.ravel().tolist() == [5, 6]


def test_what_is_solved_is_left_alone(tmp_path: Path) -> None:
    classifier = linear(tmp_path, [[0, 0], [1, 0]], [100.5, 0])
    images = rows([99, 0], [60, 0])
    found = attack(classifier, images, labels(0, 0), epsilon=60, step=1, iterations=60)
    assert found.adversarials[:, 0, 0, 0].tolist() == [101, 101]
    # One pass judges a point and has its gradient.
    assert found.gradients == 3 + 42
    # And 8 halvings for each on the way back, and the class.
    assert found.queries == 3 + 42 + 2 * 9


def test_other_directions_and_no_images(bent: Classifier) -> None:
    images = random_rows(5, seed=1)
    which = bent.predict(images)
    settings_ = {"epsilon": 120, "step": 8, "iterations": 15}
    for direction in (FastGradient(), HotCold(rank=2), HotCold(sign=True, through="ip1")):
        one = along(direction, **settings_)
        found = one.run(bent, images, Misclassification(which), np.arange(5))
        assert found.found.any()
    nothing = attack(bent, images[:0], which[:0])
    assert nothing.adversarials.shape == (0, 1, 1, 6)


POINTS = arrays(np.float64, (3, 1, 2, 3), elements=st.floats(-600, 600))
PIXELS = arrays(np.uint8, (3, 1, 2, 3))


@QUICK
@given(POINTS, PIXELS, st.sampled_from(["linf", "l2"]), st.floats(1, 255))
def test_projecting(
    points: NDArray[np.float64], images: NDArray[np.uint8], norm: Any, epsilon: float
) -> None:
    budget = PerturbationBudget(norm, epsilon)
    found = ball.project(points.copy(), images, budget)
    axes = (1, 2, 3)

    def size(differences: NDArray[np.float64]) -> NDArray[np.float64]:
        absolute = np.abs(differences)
        squares = (absolute**2).sum(axis=axes)
        return np.asarray(absolute.max(axis=axes) if norm == "linf" else np.sqrt(squares))

    assert found.min() >= 0
    assert found.max() <= 255
    assert (size(found - images) <= epsilon * (1 + 1e-9)).all()
    twice = ball.project(found.copy(), images, budget)
    np.testing.assert_allclose(twice, found, atol=1e-9)
    inside = (size(points - images) <= epsilon) & ((points >= 0) & (points <= 255)).all(axis=axes)
    np.testing.assert_allclose(found[inside], points[inside], atol=1e-9)
    whole = ball.round_to_grey_levels(found, images, budget)
    assert (size(whole.astype(float) - images) <= epsilon * (1 + 1e-12)).all()
    assert np.abs(whole - found).max() <= 1
    # Where rounding stays inside, it is rounding.
    rounded = np.rint(found)
    fine = size(rounded - images) <= epsilon
    assert np.array_equal(whole[fine], rounded[fine])


def test_l2_rounds_as_few_pixels_as_it_takes_towards_the_image() -> None:
    images = np.zeros((1, 1, 1, 4), np.uint8)
    points = np.array([3.9, 3.6, 3.55, 0.2]).reshape(1, 1, 1, 4)
    # 4, 4, 4, 0 has the length 6.93; 6.4 is the length of 4, 4, 3, 0.
    budget = PerturbationBudget("l2", 6.45)
    assert ball.round_to_grey_levels(points, images, budget).ravel().tolist() == [4, 4, 3, 0]
    budget = PerturbationBudget("l2", 6.39)
    assert ball.round_to_grey_levels(points, images, budget).ravel().tolist() == [4, 3, 3, 0]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"epsilon": 0}, "epsilon must be above 0 grey levels, not 0"),
        ({"epsilon": float("nan")}, "epsilon must be above 0"),
        ({"epsilon": 0.3}, r"did you mean 76\.5 \(0\.3 of 1\)\?"),
        ({"epsilon": 0.5, "norm": "l2"}, r"did you mean 127\.5 \(0\.5 of 1\)\?"),
        ({"step": -1}, "step must be above 0 grey levels, not -1"),
        ({"step": float("inf")}, "step must be above 0"),
        ({"iterations": 0}, "iterations must be a whole number, 1 or more, not 0"),
        ({"norm": "l1"}, "norm must be one of linf, l2, not 'l1'"),
        ({"seed": -1}, "seed must be a whole number, 0 or more, not -1"),
    ],
)
def test_settings_that_make_no_sense(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        along(**given)


def test_the_diagnostics_are_those_of_the_first_gradient(tmp_path: Path) -> None:
    classifier = linear(tmp_path, [[1, 0], [0, 1], [0, 0]])
    images, which = rows([200, 0], [30, 0]), labels(0, 0)
    for random_start in (False, True):
        found = attack(classifier, images, which, random_start=random_start, iterations=3)
        assert found.diagnostics is not None
        assert found.diagnostics.saturated.all()
        assert not found.diagnostics.zero_gradient.any()
        assert set(found.diagnostics.targets.tolist()) <= {1, 2}
    flat = linear(tmp_path / "flat", [[0, 0], [0, 0]], [1, 0])
    found = attack(flat, images, which, iterations=3)
    assert found.diagnostics is not None
    assert found.diagnostics.zero_gradient.all()


def test_restarts_try_what_the_starts_before_have_left(bent: Classifier) -> None:
    images = random_rows(60, seed=8)
    which = bent.predict(images)
    once, often = (parse_attack(f"pgd=30/2x4{text}+margin", seed=3) for text in ("", "r6"))
    first, all_ = (
        one.run(bent, images, Misclassification(which), np.arange(60)) for one in (once, often)
    )
    assert first.found.sum() < all_.found.sum()
    assert np.array_equal(all_.adversarials[first.found], first.adversarials[first.found])
    assert all_.gradients > first.gradients
    assert often.text == "pgd=30.0/2.0x4r6+margin"
    assert often.name == "PGD Linf 30, 4 x 2, 6 starts (margin)"
    with pytest.raises(ValueError, match="BIM always starts at the image: restarts are for pgd"):
        parse_attack("bim=30r2")
    with pytest.raises(ValueError, match="restarts must be a whole number, 1 or more, not 0"):
        parse_attack("pgd=30r0")


def test_a_radius_between_grey_levels_is_remarked() -> None:
    assert "differ by 25 at most" in parse_attack("pgd=25.5").remarks[0]
    assert parse_attack("pgd=25").remarks == ()
