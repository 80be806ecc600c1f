"""attacks/autoattack.py: which attacks, on which images, in which order."""

from pathlib import Path

import numpy as np
import pytest

from attack_samples import bent_net, linear, random_rows
from caffe_ext.attacks import parse_attack
from caffe_ext.attacks.autoattack import AutoAttack
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.models.classifier import Classifier


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """Return a net whose gradient changes from place to place; five classes."""
    return bent_net(tmp_path_factory.mktemp("bent"), (6, 16, 5), batch_size=50)


def test_the_standard_ensemble() -> None:
    def texts(text: str, classes: int) -> list[str]:
        attack = parse_attack(text)
        assert isinstance(attack, AutoAttack)
        return [one.text for one in attack.choose_attacks(classes)]

    assert texts("autoattack=8", 10) == [
        "apgd=8.0x100",
        "apgd=8.0x100+dlr-t",
        "fab=8.0x100",
        "square=8.0x5000",
    ]
    assert texts("autoattack-l2=0.5of1+quick", 10) == [
        "apgd-l2=127.5x50",
        "apgd(epsilon=127.5, norm='l2', iterations=50, loss='dlr-t', targets=3)",
    ]
    assert texts("autoattack=8", 4)[1:3] == [
        "apgd(epsilon=8.0, loss='dlr-t', targets=3)",
        "fab(epsilon=8.0, targets=3)",
    ]
    assert texts("autoattack=8", 3)[1] == "apgd=8.0x100+dlr"
    assert texts("autoattack=8", 2)[1] == "apgd=8.0x100+margin"


def test_each_attack_works_on_what_the_ones_before_left(bent: Classifier) -> None:
    images = random_rows(60)
    which = bent.predict(images)
    attack = AutoAttack(40.0, "linf", 10, seed=2)
    result = attack.run(bent, images, Misclassification(which), np.arange(60))
    assert result.real is not None
    left, real = np.arange(60), np.zeros(60, np.bool_)
    queries = 0
    for one in attack.choose_attacks(5):
        mine = one.run(bent, images[left], Misclassification(which[left]), left)
        assert mine.real is not None
        real[left] |= mine.real.found
        queries += mine.queries
        assert np.array_equal(result.found[left[mine.found]], mine.found[mine.found])
        left = left[~mine.found]
    assert np.array_equal(np.flatnonzero(~result.found), left)
    assert np.array_equal(real, result.real.found)
    assert result.queries == queries
    assert 0 < result.found.sum() < 60
    assert (bent.predict(result.adversarials) != which).tolist() == result.found.tolist()
    broken = result.real.found
    assert (bent.predict(result.real.adversarials) != which).tolist() == broken.tolist()


def test_networks_with_two_and_three_classes(tmp_path: Path) -> None:
    for classes in (2, 3):
        weights = np.random.default_rng(1).normal(size=(classes, 6))
        model = linear(tmp_path / str(classes), weights)
        images = random_rows(5)
        attack = AutoAttack(60.0, "l2", 4)
        attack.check(model)
        result = attack.run(model, images, Misclassification(model.predict(images)), np.arange(5))
        assert result.found.any()


def test_versions() -> None:
    assert parse_attack("autoattack=8+quick").text == "autoattack=8.0x100+quick"
    assert parse_attack("autoattack-l2=400").name == "AutoAttack L2 400, 100"
    with pytest.raises(ValueError, match="the version must be one of standard, quick, not 'plus'"):
        parse_attack("autoattack(epsilon=8, version='plus')")
