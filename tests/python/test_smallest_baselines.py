"""L-BFGS, and HopSkipJump, which sees labels only; on planes whose distance is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attack_samples import labels, linear, rows
from caffe_ext.attacks.criteria import Misclassification, TargetedMisclassification
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.models.base import Floats
from caffe_ext.models.classifier import Classifier

pytestmark = pytest.mark.any_device


class LabelsOnly:
    """A model that gives labels: its logits are 1 for the class and 0 for others."""

    def __init__(self, model: Classifier) -> None:
        self.model, self.queries = model, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def logits(self, images: Any) -> Floats:
        self.queries += len(images)
        return np.eye(self.model.classes, dtype=np.float32)[self.model.predict(images)]

    def gradient(self, *_: Any, **__: Any) -> Floats:
        raise AssertionError("a model that gives labels only has no gradient")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    # Class 1 above 3 x0 + 4 x1 = 1000: from (100, 100) the plane is 60 away in L2, 300 / 7 in Linf.
    # Class 2 is further away.
    weights = np.array([[0, 0], [3, 4], [3, -4]]) / 10
    return linear(tmp_path_factory.mktemp("plane"), weights, [100, 0.02, 0])


def test_lbfgs_meets_a_plane(plane: Classifier) -> None:
    images, which = rows([100, 100], [120, 110]), labels(0, 0)
    attack = parse_attack("lbfgs(steps=12)")
    found = attack.run(plane, images, Misclassification(which), np.arange(2))
    assert found.classes.tolist() == [1, 1]
    far = np.sqrt(((found.adversarials.astype(float) - images) ** 2).sum(axis=(1, 2, 3)))
    assert (far >= [60, 40]).all()
    assert (far <= [61.5, 41.5]).all()
    assert found.gradients < found.queries
    two = parse_attack("lbfgs(target=2)")
    assert two.find_applicable(labels(0, 1, 2)).tolist() == [True, True, False]
    assert two.text == "lbfgs(target=2)"
    towards = TargetedMisclassification(which[:1], labels(1))
    aimed = attack.run(plane, images[:1], towards, np.arange(1))
    assert np.array_equal(aimed.adversarials, found.adversarials[:1])


def test_lbfgs_refuses_what_is_no_class(plane: Classifier) -> None:
    with pytest.raises(ValueError, match="target must be a class, 0 or more, not -1"):
        parse_attack("lbfgs(target=-1)")
    with pytest.raises(ValueError, match=r"the target class must be one of 0\.\.2, not 3"):
        parse_attack("lbfgs(target=3)").check(plane)


@pytest.mark.parametrize(("norm", "far"), [("l2", 60.0), ("linf", 300 / 7)])
def test_hopskipjump_needs_labels_only(plane: Classifier, norm: str, far: float) -> None:
    images, model = rows([100, 100], [100, 100], [100, 100]), LabelsOnly(plane)
    attack = parse_attack(f"hopskipjump-{norm}(budget=1500)", seed=4)
    found = attack.run(model, images, Misclassification(labels(0, 0, 0)), np.array([0, 1, 0]))
    assert found.found.all()
    assert (found.queries, found.gradients) == (model.queries, 0)
    assert model.queries <= 3 * 1500
    apart = (found.adversarials.astype(float) - images).reshape(3, -1)
    away = np.abs(apart).max(axis=1) if norm == "linf" else np.sqrt((apart**2).sum(axis=1))
    assert (away >= far).all()
    assert (away <= 1.06 * far + 1).all()
    assert np.array_equal(plane.predict(found.adversarials), found.classes)
    # Its random choices are those of the image's number.
    assert found.real is not None
    real = found.real.adversarials
    assert np.array_equal(real[0], real[2])
    assert norm == "linf" or not np.array_equal(real[0], real[1])


def test_hopskipjump_where_no_noise_is_adversarial(tmp_path: Path) -> None:
    model = linear(tmp_path, [[0, 0], [0, 0]], [1, 0])
    attack = parse_attack("hopskipjump-l2(budget=500)")
    found = attack.run(model, rows([9, 9]), Misclassification(labels(0)), np.zeros(1, np.int64))
    assert not found.found.any()
    assert found.queries == 100
    with pytest.raises(ValueError, match="budget must be a whole number, 500 or more, not 20"):
        parse_attack("hopskipjump-l2(budget=20)")
