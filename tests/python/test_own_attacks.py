"""What an attack from outside the package returns is not believed before it is checked."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attack_samples import linear
from caffe_ext.attacks.base import Attack, AttackResult, Diagnostics, RealReading
from caffe_ext.attacks.criteria import MISCLASSIFIED, NO_TARGET, Criterion
from caffe_ext.attacks.own import run_checked
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.cli import evaluate, transfer
from caffe_ext.models.base import NO_CLASS, Images, Ints, Model
from caffe_ext.models.classifier import Classifier
from hotcold_samples import make_setting, refused, write_yaml

COUNT = 200
Change = Callable[[AttackResult, Images], Any]


@dataclass(frozen=True)
class Swapping(Attack):
    """Exchange the two pixels, then change the result."""

    change: Change
    name = "Swapping"
    threat_model = "knows everything"

    def run(
        self, model: Model, images: Images, criterion: Criterion, indices: Ints
    ) -> AttackResult:
        swapped, count = images[..., ::-1].copy(), len(images)
        real = RealReading(np.ones(count, np.bool_), swapped.astype(np.float32))
        result = AttackResult(
            np.ones(count, np.bool_),
            swapped,
            1 - criterion.labels,
            np.ones(count),
            count,
            diagnostics=Diagnostics.make_empty(count),
            real=real,
        )
        changed: AttackResult = self.change(result, images)
        return changed


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    """Return a model that gives an image the number of its brighter pixel."""
    return linear(tmp_path, np.eye(2), shape=(1, 1, 2), batch_size=10)


def some_images() -> Images:
    pixels = np.random.default_rng(0).choice(np.arange(1, 256, dtype=np.uint8), 2 * COUNT)
    pairs = pixels.reshape(COUNT, 1, 1, 2)
    return np.where(pairs == pairs[..., ::-1], np.array([10, 20], np.uint8), pairs)


def check(own: Attack, model: Model, images: Images, labels: Ints) -> AttackResult:
    indices = np.arange(len(images))
    return run_checked(own, model, images, kind=MISCLASSIFIED, labels=labels, indices=indices)


def attack(classifier: Classifier, change: Change) -> AttackResult:
    images = some_images()
    labels = classifier.predict(images)
    return check(Swapping(change), classifier, images, labels)


def real(result: AttackResult, **changes: Any) -> AttackResult:
    assert result.real is not None
    return replace(result, real=replace(result.real, **changes))


def diagnose(result: AttackResult, **changes: Any) -> AttackResult:
    assert result.diagnostics is not None
    return replace(result, diagnostics=replace(result.diagnostics, **changes))


def darken(result: AttackResult, images: Images) -> AttackResult:
    images[0, 0, 0, 0] ^= 1
    return result


def fail(error: BaseException) -> Change:
    def change(result: AttackResult, images: Images) -> AttackResult:
        raise error

    return change


def test_a_good_result_is_kept(classifier: Classifier) -> None:
    result = attack(classifier, lambda result, _: result)
    assert result.found.all()
    np.testing.assert_array_equal(result.adversarials, some_images()[..., ::-1])
    assert result.real is not None
    assert result.real.found.all()


def test_the_class_is_the_one_that_the_model_gives(classifier: Classifier) -> None:
    result = attack(
        classifier, lambda result, _: replace(result, classes=np.zeros(COUNT, np.int64))
    )
    np.testing.assert_array_equal(result.classes, classifier.predict(result.adversarials))
    assert len(set(result.classes)) == 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda *_: None, "run() must return an AttackResult, not NoneType"),
        (lambda r, _: replace(r, found=[True] * COUNT), "found must be a NumPy array, bool (200,)"),
        (lambda r, _: replace(r, found=np.full(COUNT, 2)), "bool (200,), not int64 (200,)"),
        (lambda r, _: replace(r, found=r.found[:1]), "bool (200,), not bool (1,)"),
        (
            lambda r, _: replace(r, adversarials=r.adversarials.astype(np.float32)),
            "adversarials must be a NumPy array, uint8 (200, 1, 1, 2), not float32",
        ),
        (
            lambda r, _: replace(r, adversarials=r.adversarials[..., :1]),
            "uint8 (200, 1, 1, 2), not uint8 (200, 1, 1, 1)",
        ),
        (lambda r, _: replace(r, classes=r.classes * 1.0), "classes must be a NumPy array, int64"),
        (lambda r, _: replace(r, classes=r.classes + 98), "classes must be 0..1, or -1"),
        (lambda r, _: replace(r, step_lengths=np.full(COUNT, np.inf)), "step_lengths must be fini"),
        (lambda r, _: replace(r, step_lengths=np.full(COUNT, np.nan)), "step_lengths must be fini"),
        (lambda r, _: replace(r, step_lengths=-r.step_lengths), "step_lengths must be finite"),
        (lambda r, _: replace(r, queries=-7), "queries must be a whole number, 0 or more, not -7"),
        (lambda r, _: replace(r, queries=np.nan), "queries must be a whole number"),
        (lambda r, _: replace(r, gradients=None), "gradients must be a whole number"),
        (lambda r, _: replace(r, real=r.found), "real must be a RealReading or None, not ndarray"),
        (
            lambda r, _: real(r, adversarials=r.real.adversarials * np.float32(np.nan)),
            "real.adversarials must be 0..255 where real.found is True",
        ),
        (lambda r, _: real(r, adversarials=r.real.adversarials * 300), "must be 0..255 where real"),
        (lambda r, _: real(r, found=r.found[:3]), "real.found must be a NumPy array"),
        (lambda r, _: replace(r, diagnostics=1), "diagnostics must be Diagnostics or None"),
        (lambda r, _: diagnose(r, targets=r.classes + 9), "diagnostics.targets must be 0..1"),
        (lambda r, _: diagnose(r, saturated=None), "diagnostics.saturated must be a NumPy array"),
        (darken, "must not change the images that it is given"),
        (
            lambda r, images: replace(r, adversarials=images.copy()),
            "200 of 200 images that it returns as adversarial are not",
        ),
        (
            lambda r, images: real(r, adversarials=images.astype(np.float32)),
            "200 of 200 images that it returns as adversarial are not",
        ),
        (fail(TypeError("no\nnumber")), "failed: TypeError: no number"),
        (fail(KeyError("a")), "failed: KeyError: 'a'"),
        (fail(SystemExit(0)), "failed: SystemExit: 0"),
        (fail(MemoryError()), "failed: MemoryError"),
    ],
)
def test_a_wrong_result_is_refused(classifier: Classifier, change: Change, says: str) -> None:
    with pytest.raises(ValueError, match=r"^attack 'Swapping'[^\n]*$") as refusal:
        attack(classifier, change)
    assert says in str(refusal.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)])
def test_a_program_that_is_told_to_end_ends(classifier: Classifier, error: BaseException) -> None:
    with pytest.raises(type(error)):
        attack(classifier, fail(error))


def keep_originals(count: int) -> Change:
    def change(result: AttackResult, images: Images) -> AttackResult:
        adversarials = result.adversarials.copy()
        adversarials[:count] = images[:count]
        return replace(result, adversarials=adversarials)

    return change


def test_a_few_false_adversarials_do_not_count(classifier: Classifier) -> None:
    result = attack(classifier, keep_originals(2))
    assert not result.found[:2].any()
    assert result.found[2:].all()
    assert (result.classes[:2] == NO_CLASS).all()
    assert np.isnan(result.step_lengths[:2]).all()
    with pytest.raises(ValueError, match="3 of 200 images"):
        attack(classifier, keep_originals(3))


def test_ties_are_rounding(classifier: Classifier) -> None:
    """Both pixels are equal: class 0, by a margin of 0."""
    image, label = np.full((1, 1, 1, 2), 7, np.uint8), np.zeros(1, np.int64)
    assert classifier.predict(image)[0] == 0
    result = check(Swapping(lambda result, _: result), classifier, image, label)
    assert not result.found.any()
    assert result.diagnostics is not None
    assert result.diagnostics.targets[0] == NO_TARGET


def test_the_package_s_own_attacks_are_believed(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They confirm what they find themselves."""
    own, images = parse_attack("hc1"), some_images()
    nothing = AttackResult.make_empty(images)
    monkeypatch.setattr(type(own), "run", lambda *_: nothing)
    assert check(own, classifier, images, classifier.predict(images)) is nothing


@pytest.mark.parametrize("name", ["apgd=1", "square=1", "ddn", "lbfgs"])
def test_black_images_are_attacked_without_a_warning(classifier: Classifier, name: str) -> None:
    """Only a user's arrays may be meant as 0..1."""
    images = np.zeros((3, 1, 1, 2), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = check(parse_attack(name), classifier, images, classifier.predict(images))
    assert result.found.all()
    with pytest.warns(UserWarning, match="almost black"):
        classifier.predict(images + np.float32(0.5))


LYING = """
from dataclasses import dataclass
import numpy as np
from caffe_ext.attacks.base import Attack, AttackResult
from caffe_ext.attacks.registry import register_attack


@register_attack("{name}")
@dataclass(frozen=True)
class Lying(Attack):
    name = "Lying"
    threat_model = "x"

    def run(self, model, images, criterion, indices):
        count = len(images)
        return AttackResult(np.ones(count, bool), {what}, np.ones(count, int), np.ones(count), 1)
"""


@pytest.mark.parametrize("program", ["hotcold", "transfer", "attacks", "cascade"])
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("images.copy()", "1 of 1 images that it returns as adversarial are not"),
        ("images + None", "failed: TypeError: unsupported operand"),
    ],
)
def test_programs_end_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, what: str, says: str
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    name = f"lying-{program}-{'copy' if 'copy' in what else 'none'}"
    path = tmp_path / f"{name.replace('-', '_')}.py"
    path.write_text(LYING.format(name=name, what=what))
    setting = make_setting(tmp_path)
    given = [*setting.arguments, "--import", path]
    if program == "hotcold":
        sentence = refused(*given, "--attacks", name)
    elif program == "transfer":
        second = write_yaml(tmp_path / "second", "second", seed=1)
        sentence = refused(
            *given, "--model", setting.model, second, "--attacks", name, main=transfer.main
        )
    else:
        given += ["--jobs", 1, "--noise-images", 0, "--probe", 0, "--hot", 1]
        sentence = refused(*given, f"--{program}", name, main=evaluate.main)
    assert f"attack '{name}'" in sentence
    assert says in sentence
    assert "\n" not in sentence
