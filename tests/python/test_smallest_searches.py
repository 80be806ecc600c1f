"""FMN, DDN and DeepFool of a batch against plain loops of the papers, one image at a time."""

from pathlib import Path

import numpy as np
import pytest

import smallest_reference as reference
from attack_samples import bent_net, labels, linear, random_rows, rows
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.smallest.ddn import decoupled_direction_and_norm
from caffe_ext.attacks.smallest.deepfool import deepfool
from caffe_ext.attacks.smallest.fmn import fast_minimum_norm
from caffe_ext.attacks.smallest.nearest import NearestAdversarials
from caffe_ext.attacks.smallest.queries import MarginQueries
from caffe_ext.models.classifier import Classifier

pytestmark = pytest.mark.any_device
COUNT = 12


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return bent_net(tmp_path_factory.mktemp("bent"), (6, 12, 4), batch_size=5)


def images() -> np.ndarray:
    return random_rows(COUNT, 6, seed=8)


def asked(model: Classifier, given: np.ndarray) -> MarginQueries:
    return MarginQueries(model, Misclassification(model.predict(given)))


def each(model: Classifier, given: np.ndarray) -> list[reference.OneImage]:
    which = model.predict(given)
    return [reference.OneImage(model, *pair) for pair in zip(given, which, strict=True)]


def check(found: NearestAdversarials, distances: list[float], given: np.ndarray, norm: str) -> None:
    assert np.isfinite(distances).sum() > 0
    np.testing.assert_allclose(found.distances, distances, rtol=2e-3)
    apart = found.points - given
    for far, one in zip(found.distances, apart, strict=True):
        assert np.isinf(far) or abs(reference.length(one, norm) - far) < 1e-3


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 20, 60])
def test_fmn(bent: Classifier, norm: str, steps: int) -> None:
    given = images()
    found = fast_minimum_norm(asked(bent, given), given, norm, steps)  # type: ignore[arg-type]
    distances = [reference.fmn(one, norm, steps) for one in each(bent, given)]
    if steps == 1:
        assert not found.found.any()  # the image itself is all that was seen
    else:
        check(found, distances, given, norm)


@pytest.mark.parametrize("steps", [3, 30])
def test_ddn(bent: Classifier, steps: int) -> None:
    given = images()
    found = decoupled_direction_and_norm(asked(bent, given), given, steps)
    check(found, [reference.ddn(one, steps) for one in each(bent, given)], given, "l2")


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 20])
def test_deepfool(bent: Classifier, norm: str, steps: int) -> None:
    given = images()
    found = deepfool(asked(bent, given), given, norm, steps)  # type: ignore[arg-type]
    check(found, [reference.deepfool(one, norm, steps) for one in each(bent, given)], given, norm)


def test_deepfool_meets_a_plane_in_one_step(tmp_path: Path) -> None:
    # Class 1 above 3 x0 + 4 x1 = 1000: from (100, 100) the plane is 60 away in L2, 300 / 7 in Linf.
    model = linear(tmp_path, [[0, 0], [3, 4]], [1000, 0])
    given = rows([100, 100])
    for norm, far in (("l2", 60.0), ("linf", 300 / 7)):
        query = MarginQueries(model, Misclassification(labels(0)))
        found = deepfool(query, given, norm, 1)  # type: ignore[arg-type]
        np.testing.assert_allclose(found.distances, [1.02 * far], rtol=1e-5)
        assert (query.queries, query.gradients) == (3, 1)


def test_the_loss_still_points_somewhere_where_it_is_exactly_0(tmp_path: Path) -> None:
    # The label leads by 1000: the softmax of the other class is 0, even in double.
    model = linear(tmp_path, [[0, 0], [3, 4]], [1700, 0])
    given = rows([100, 100])
    query = MarginQueries(model, Misclassification(labels(0)))
    _, gradients = query.ascend_loss(given, np.arange(1))
    np.testing.assert_allclose(gradients.ravel(), [-3, -4])
    found = decoupled_direction_and_norm(query, given, 100)
    np.testing.assert_allclose(found.distances, [200], rtol=0.02)


def test_what_has_no_gradient_leaves(tmp_path: Path) -> None:
    # Without any weight no image is ever anything else than class 0.
    model = linear(tmp_path, [[0, 0], [0, 0]], [1, 0])
    given = rows([100, 100], [0, 255])
    fmn, ddn, fool = (MarginQueries(model, Misclassification(labels(0, 0))) for _ in range(3))
    assert not fast_minimum_norm(fmn, given, "linf", 50).found.any()
    assert not decoupled_direction_and_norm(ddn, given, 50).found.any()
    assert not deepfool(fool, given, "l2", 50).found.any()
    assert max(query.queries for query in (fmn, ddn, fool)) <= 4
