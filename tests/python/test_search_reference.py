"""The line search of a batch against doubling and bisection, one image at a time."""

from pathlib import Path

import caffe
import numpy as np
import pytest

from caffe_ext.attacks.base import AttackResult
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.models.base import Images, Ints
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.pixels import PixelSpace
from search_reference import Path1D, PlainNet, find_last_amplitude, make_plain_path, move

pytestmark = pytest.mark.any_device

# All weights are whole numbers, and float32 holds all sums exactly: they do not depend on how the
# images fall into batches, and results must not differ in a single bit.
NET = """
layer { name: 'data' type: 'Input' top: 'data'
  input_param { shape { dim: 1 dim: 1 dim: 6 dim: 6 } } }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  convolution_param { num_output: 6 kernel_size: 3 } }
layer { name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' }
layer { name: 'score' type: 'InnerProduct' bottom: 'conv' top: 'score'
  inner_product_param { num_output: 4 } }
layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' }
"""
SCALE = 1 / 256
COUNT = 43
MOST = 600
KINDS = ("hc1", "margin-s", "fgs")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("whole")
    deploy, weights = folder / "deploy.prototxt", folder / "w.caffemodel"
    deploy.write_text(NET)
    net, random = caffe.Net(str(deploy), caffe.TEST), np.random.default_rng(2)
    for weight, _ in net.params.values():
        weight.data[...] = random.integers(-2, 3, weight.data.shape)
    net.save(str(weights))
    # All classes come about as often.
    scores = Classifier(deploy, weights, PixelSpace(SCALE)).logits(random_images(500, seed=1))
    net.params["score"][1].data[...] = -np.rint(scores.mean(axis=0))
    net.save(str(weights))
    return deploy, weights


def random_images(count: int, seed: int) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)


@pytest.fixture(scope="module")
def images() -> Images:
    return random_images(COUNT, seed=5)


@pytest.fixture(scope="module")
def labels(model: tuple[Path, Path], images: Images) -> Ints:
    net = PlainNet(*model, "score", SCALE)
    return np.array([net.scores(image).argmax() for image in images], np.int64)


def test_the_case_is_worth_it(model: tuple[Path, Path], images: Images, labels: Ints) -> None:
    net = PlainNet(*model, "score", SCALE)
    ways = [make_plain_path(net, "hc1", *one) for one in zip(images, labels, strict=True)]
    found = [way.search() for way in ways]
    assert set(labels.tolist()) == {0, 1, 2, 3}
    assert None in found
    assert len(set(found)) > 15
    # Where classes change more than once on the way, a search can miss the first change.
    first = [way.find_first() for way in ways if way.search() is not None]
    assert first != [amplitude for amplitude in found if amplitude is not None]


def classify_all(way: Path1D) -> list[bool]:
    """Return for each t = 0, 1, ... MOST whether x(t) is misclassified: brute force."""
    last = min(find_last_amplitude(way.image, way.u), MOST)
    return [way.is_misclassified(t) for t in range(last + 1)]


def changes_once(way: Path1D) -> bool:
    """Say whether all amplitudes from the first misclassified one on are misclassified."""
    wrong = classify_all(way)
    return wrong == sorted(wrong)


def attacked(kind: str, classifier: Classifier, images: Images, labels: Ints) -> AttackResult:
    """Run an attack on all images."""
    return parse_attack(kind).run(classifier, images, Misclassification(labels), np.arange(COUNT))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_bit_for_bit_where_the_class_changes_once(
    model: tuple[Path, Path], images: Images, labels: Ints, kind: str, batch: int
) -> None:
    classifier = Classifier(*model, PixelSpace(SCALE), batch_size=batch)
    result = attacked(kind, classifier, images, labels)

    net, found, compared = PlainNet(*model, "score", SCALE), 0, 0
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        way = make_plain_path(net, kind, image, label)
        if not changes_once(way):
            continue
        compared += 1
        amplitude = way.search()
        assert result.found[row] == (amplitude is not None)
        if amplitude is None:
            assert np.isnan(result.step_lengths[row])
            np.testing.assert_array_equal(result.adversarials[row], image)
            continue
        adversarial = move(image, way.u, amplitude)
        assert result.step_lengths[row] == amplitude
        np.testing.assert_array_equal(result.adversarials[row], adversarial)
        assert result.classes[row] == net.scores(adversarial).argmax() != label
        found += 1
    assert compared > 0.7 * COUNT
    assert found > COUNT / 2


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_queries(model: tuple[Path, Path], images: Images, labels: Ints, kind: str) -> None:
    classifier, net = Classifier(*model, PixelSpace(SCALE)), PlainNet(*model, "score", SCALE)
    result = attacked(kind, classifier, images, labels)
    before = net.forwards
    for image, label in zip(images, labels, strict=True):
        make_plain_path(net, kind, image, label).search()
    # One of the reference's is for the direction, one of ours asks about what was found once more.
    asked = net.forwards - before - COUNT
    assert result.queries - result.gradients - result.found.sum() < 0.6 * asked


@pytest.mark.parametrize("kind", KINDS)
def test_brute_force(model: tuple[Path, Path], images: Images, labels: Ints, kind: str) -> None:
    classifier = Classifier(*model, PixelSpace(SCALE), batch_size=20)
    result = attacked(kind, classifier, images, labels)
    net, smallest = PlainNet(*model, "score", SCALE), 0
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        way = make_plain_path(net, kind, image, label)
        wrong = classify_all(way)
        assert not wrong[0]
        if not result.found[row]:
            # What the search asks last is the end of the way.
            assert not way.is_misclassified(find_last_amplitude(image, way.u))
            continue
        amplitude = int(result.step_lengths[row])
        assert wrong[amplitude]
        assert not wrong[amplitude - 1]
        first = way.find_first()
        assert first == wrong.index(True) <= amplitude
        smallest += first == amplitude
    assert smallest > 0.9 * result.found.sum()


def test_nothing_changes_after_the_last_amplitude(images: Images) -> None:
    u = np.random.default_rng(6).uniform(-1, 1, images.shape).astype(np.float32)
    u[0], u[1] = 0, 1
    for image, one in zip(images, u, strict=True):
        last = find_last_amplitude(image, one)
        np.testing.assert_array_equal(move(image, one, last), move(image, one, 3 * last))
    assert find_last_amplitude(images[0], u[0]) == 0
    assert find_last_amplitude(images[1], u[1]) == 255 - images[1].min()
