"""models/smoothed.py and smoothed_description.py: the vote on noisy copies as one model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from attack_samples import bent_net
from caffe_ext.attacks.criteria import Misclassification
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.certification.network import UnboundableError, read_network
from caffe_ext.cli.certify import main as certify
from caffe_ext.cli.evaluate import main as evaluate
from caffe_ext.models.base import Floats, Model, softmax
from caffe_ext.models.description import read_model
from caffe_ext.models.loadable_file import read_loadable
from caffe_ext.models.smoothed import SmoothedModel, Smoothing
from caffe_ext.models.smoothed_description import SmoothedDescription
from classifier_models import LINEAR, write_model

random = np.random.default_rng(0)
SIZES = (7, 5, 4)
IMAGES = random.integers(0, 256, (10, 1, 1, SIZES[0]), dtype=np.uint8)
SMOOTHING = Smoothing(40.0, 9, 5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Return a net that computes four images at a time."""
    return bent_net(tmp_path_factory.mktemp("base") / "a", SIZES, 4)


def make_copies(image: Any, smoothing: Smoothing = SMOOTHING) -> Any:
    """Return the noisy copies, by their definition."""
    draw = np.random.Generator(np.random.Philox(smoothing.seed)).standard_normal
    noise = draw((smoothing.samples, *image.shape), np.float32) * np.float32(smoothing.sigma)
    return np.clip(np.round(image.astype(np.float32) + noise), 0, 255).astype(np.uint8)


def test_the_class_is_that_of_the_most_votes(base: Model) -> None:
    model = SmoothedModel(base, SMOOTHING)
    assert (model.classes, model.batch_size, model.image_shape) == (4, 4, (1, 1, SIZES[0]))
    logits, found = model.logits(IMAGES), model.predict(IMAGES)
    disputed: list[bool] = []
    for image, scores, predicted in zip(IMAGES, logits, found, strict=True):
        copies = make_copies(image)
        votes = np.bincount(base.predict(copies), minlength=4)
        assert votes[predicted] == votes.max()
        disputed.append(bool(np.count_nonzero(votes) > 1))
        mean = softmax(base.logits(copies).astype(float)).mean(axis=0)
        expected = (1 - 1 / 18) * votes / 9 + mean / 18
        np.testing.assert_allclose(scores, np.log(expected), rtol=1e-5)
    assert any(disputed)  # else the noise would not matter
    assert model.logits(IMAGES[:0]).shape == (0, 4)


def test_probabilities_decide_between_equal_votes_only(base: Model) -> None:
    smoothing = Smoothing(60.0, 2, 1)
    model = SmoothedModel(base, smoothing)
    ties = 0
    for image, predicted in zip(IMAGES, model.predict(IMAGES), strict=True):
        copies = make_copies(image, smoothing)
        first, second = base.predict(copies)
        mean = softmax(base.logits(copies).astype(float)).mean(axis=0)
        ties += first != second
        assert predicted == (first if mean[first] >= mean[second] else second)
    assert ties


def test_the_gradient_is_that_of_the_averaged_probabilities(base: Model) -> None:
    model = SmoothedModel(base, SMOOTHING)
    diff = random.normal(size=(len(IMAGES), 4)).astype(np.float32)
    logits = model.logits(IMAGES)
    seen: list[slice] = []

    def derivative(found: Floats, rows: slice) -> Floats:
        seen.append(rows)
        np.testing.assert_array_equal(found, logits[rows])
        return diff[rows]

    found = model.gradient(IMAGES, derivative)
    assert [(one.start, one.stop) for one in seen] == [(0, 4), (4, 8), (8, 10)]
    np.testing.assert_array_equal(found, model.gradient(IMAGES, diff))
    for image, mine, given in zip(IMAGES, found, diff, strict=True):
        copies = make_copies(image)
        each = softmax(base.logits(copies).astype(float))
        total, expected = each.sum(axis=0), np.zeros(image.shape)
        for number in range(len(copies)):
            # d log p_k = sum_s dp_sk / total_k, and dp_sk/dz_sj = p_sk (delta_kj - p_sj).
            inner = given * each[number] / total
            own = (inner - each[number] * inner.sum()).astype(np.float32)
            expected += base.gradient(copies[number : number + 1], own[None])[0]
        np.testing.assert_allclose(mine, expected, rtol=1e-3, atol=1e-7)


def test_real_valued_pixels_are_rounded_after_the_noise(base: Model) -> None:
    model, real = SmoothedModel(base, SMOOTHING), IMAGES + np.float32(0.4)
    copies = make_copies(real[0])
    assert copies.dtype == np.uint8
    votes = np.bincount(base.predict(copies), minlength=4)
    assert votes[model.predict(real)[0]] == votes.max()


def test_attacks_see_through_the_noise(base: Model) -> None:
    """What they find is classified otherwise by most copies."""
    model = SmoothedModel(base, SMOOTHING)
    labels = model.predict(IMAGES)
    attack = parse_attack("pgd=60/10x10", seed=1)
    result = attack.run(model, IMAGES, Misclassification(labels), np.arange(len(IMAGES)))
    assert result.found.any()
    again = model.predict(result.adversarials[result.found])
    assert (again != labels[result.found]).all()


def test_what_is_refused(base: Model) -> None:
    model = SmoothedModel(base, SMOOTHING)
    with pytest.raises(ValueError, match="no blob 'ip1'"):
        model.gradient(IMAGES, np.ones((10, 4), np.float32), through="ip1")
    with pytest.raises(ValueError, match="9 rows for 10 images"):
        model.gradient(IMAGES, np.ones((9, 4), np.float32))
    with pytest.raises(ValueError, match=r"shape \(4, 5\), the logits \(4, 4\)"):
        model.gradient(IMAGES, np.ones((10, 5), np.float32))
    with pytest.raises(RuntimeError, match="from inside"):
        model.gradient(IMAGES, lambda logits, _: model.logits(IMAGES))
    large = SmoothedModel(base, Smoothing(1.0, 100_000))
    with pytest.raises(ValueError, match=r"takes 1\.1 GiB, more than 1; use fewer samples"):
        large.logits(np.zeros((1, 3, 10, 100), np.uint8))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"sigma": 0.0}, "sigma must be a number above 0"),
        ({"sigma": float("nan")}, "sigma must be a number above 0"),
        ({"sigma": 9.0, "samples": 0}, "samples must be 1 to 100,000, not 0"),
        ({"sigma": 9.0, "seed": -1}, "the seed must be from 0 to"),
    ],
)
def test_noise_that_makes_no_sense(given: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Smoothing(**given)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a net, and a file that smooths it."""
    write_model(tmp_path / "net", LINEAR, seed=1)
    write(tmp_path, {"sigma": 30, "samples": 5})
    return tmp_path


def write(folder: Path, smoothing: Any, **more: Any) -> Path:
    settings = {
        "name": "smooth",
        "deploy": "net/deploy.prototxt",
        "weights": "net/w.caffemodel",
        "scale": 0.01,
        "smoothing": smoothing,
    }
    path = folder / "smooth.yaml"
    path.write_text(yaml.safe_dump(settings | more))
    return path


def test_a_file_describes_it(folder: Path) -> None:
    described = read_loadable(folder / "smooth.yaml")
    assert isinstance(described, SmoothedDescription)
    assert described.smoothing == Smoothing(30, 5, 1)
    assert described.as_record()["smoothing"] == {"sigma": 30, "samples": 5, "seed": 1}
    assert "smoothed with sigma 30" in described.shown_file
    model, plain = described.load(2), described.base.load(2)
    assert model.batch_size == 2
    image = random.integers(0, 256, (1, *plain.image_shape), dtype=np.uint8)
    votes = np.bincount(plain.predict(make_copies(image[0], described.smoothing)))
    assert votes[model.predict(image)[0]] == votes.max()
    other = read_loadable(write(folder, {"sigma": 31, "samples": 5}))
    assert other.identify() != described.identify()
    assert other.cache_key != described.cache_key
    named = read_loadable(folder / "smooth.yaml", folder / "net" / "w.caffemodel")
    assert (described.name, named.with_name("x").name) == ("smooth", "x")
    unnamed = read_loadable(write(folder, {"sigma": 62.5}, name=""))
    assert (named.name, unnamed.name) == ("w_smoothed_31", "w_smoothed_62.5")


@pytest.mark.parametrize(
    ("smoothing", "sentence"),
    [
        (30, "must be of the form {sigma: 63.75, samples: 100, seed: 1}"),
        ({"samples": 5}, "must be of the form"),
        ({"sigma": 30, "sample": 5}, "unknown key 'sample' (did you mean samples?)"),
        ({"sigma": "30"}, "`sigma:` must be a number, not '30'"),
        ({"sigma": 30, "samples": 2.5}, "`samples:` must be a whole number, not 2.5"),
        ({"sigma": 0.25}, "0.25 of pixels in 0..1 are 63.75"),
        ({"sigma": 30, "samples": 0}, "samples must be 1 to 100,000"),
        ({"sigma": 1e31}, "sigma must be a number above 0, in grey levels, and at most 1e+30"),
        ({"sigma": 10**400}, "sigma must be a number above 0, in grey levels, and at most 1e+30"),
        ({"sigma": float("nan")}, "and at most 1e+30, not nan"),
    ],
)
def test_wrong_files_are_refused(folder: Path, smoothing: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"smooth\.yaml: `smoothing:`") as caught:
        read_loadable(write(folder, smoothing))
    assert sentence in f"{caught.value}"


def test_who_needs_the_network_itself_says_so(folder: Path) -> None:
    path = folder / "smooth.yaml"
    with pytest.raises(ValueError, match="makes a smoothed model"):
        read_model(path)
    with pytest.raises(UnboundableError, match=r"smooth: .* take `smoothing:` out of its file"):
        read_network(read_loadable(path))
    images, labels = write_images(folder)
    argv = ["--model", f"{path}", "--images", images, "--labels", labels]
    with pytest.raises(SystemExit, match="smooth is smoothed already: certify the network itself"):
        certify(["smoothing", *argv, "--output", f"{folder / 'out'}"])
    assert not (folder / "out").exists()


def test_all_noise_that_is_allowed_can_be_added(base: Model) -> None:
    with np.errstate(all="raise"):
        copies = SmoothedModel(base, Smoothing(1e30, 50))._make_copies(IMAGES[0])
    assert set(np.unique(copies)) == {0, 255}


def write_images(folder: Path) -> tuple[str, str]:
    images, labels = folder / "images.npy", folder / "labels.npy"
    np.save(images, random.integers(0, 256, (6, 1, 2, 2), dtype=np.uint8))
    np.save(labels, np.arange(6) % 3)
    return f"{images}", f"{labels}"


def test_the_report_takes_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = write_images(folder)
    argv = ["--model", f"{folder / 'smooth.yaml'}", "--images", images, "--labels", labels]
    budget = ["--within", "8", "--norm", "linf", "--cascade", "pgd=E/4x3"]
    assert evaluate([*argv, "--quick", *budget, "--output", f"{folder / 'out'}"]) == 0
    assert "smooth" in capsys.readouterr().out
    page = (folder / "out" / "report.html").read_text()
    noise = "vote on 5 copies with Gaussian noise of sigma 30 grey levels (0.118 of 1), seed 1"
    assert noise in page
