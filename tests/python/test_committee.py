"""models/committee.py and committee_description.py: averaged predictions as one model."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from attack_samples import bent_net, linear
from caffe_ext.certification.network import UnboundableError, read_network
from caffe_ext.cli.certify import main as certify
from caffe_ext.cli.evaluate import main as evaluate
from caffe_ext.cli.hotcold import main as hotcold
from caffe_ext.models.base import Floats, Model, softmax
from caffe_ext.models.committee import Committee
from caffe_ext.models.committee_description import CommitteeDescription
from caffe_ext.models.description import read_model
from caffe_ext.models.loadable_file import read_loadable
from classifier_models import LINEAR, write_model

random = np.random.default_rng(0)
SIZES = (7, 5, 4)
IMAGES = random.integers(0, 256, (10, 1, 1, SIZES[0]), dtype=np.uint8)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Return nets with other gradients, which compute other numbers of images at a time."""
    folder = tmp_path_factory.mktemp("members")
    other = random.normal(size=(SIZES[2], SIZES[0])) / 100
    return [bent_net(folder / "a", SIZES, 4), linear(folder / "b", other, batch_size=3)]


def mean_probabilities(members: list[Model], images: Any) -> Any:
    """Return what a committee is, by its definition."""
    return np.mean([softmax(one.logits(images).astype(float)) for one in members], axis=0)


def test_predictions_are_averaged(members: list[Model]) -> None:
    committee = Committee(members)
    expected = mean_probabilities(members, IMAGES)
    np.testing.assert_allclose(committee.probabilities(IMAGES), expected, rtol=1e-5)
    np.testing.assert_allclose(committee.logits(IMAGES), np.log(expected), rtol=1e-5, atol=1e-6)
    assert np.array_equal(committee.predict(IMAGES), expected.argmax(axis=1))
    assert (committee.batch_size, committee.classes) == (3, 4)
    assert committee.logits(IMAGES[:0]).shape == (0, 4)


def test_a_committee_of_one_is_the_model(members: list[Model]) -> None:
    one, committee = members[0], Committee(members[:1])
    diff = random.normal(size=(len(IMAGES), 4)).astype(np.float32)
    # dE/dz of an objective of log p is d - p sum(d).
    own = diff - one.probabilities(IMAGES) * diff.sum(axis=1, keepdims=True)
    expected = one.gradient(IMAGES, own)
    np.testing.assert_allclose(committee.gradient(IMAGES, diff), expected, rtol=1e-3, atol=1e-7)


def test_the_gradient_is_that_of_the_average(members: list[Model]) -> None:
    committee, step = Committee(members), 0.05
    middle = random.uniform(20, 230, IMAGES.shape).astype(np.float32)
    diff = random.normal(size=(len(IMAGES), 4)).astype(np.float32)
    seen: list[slice] = []

    def derivative(logits: Floats, rows: slice) -> Floats:
        seen.append(rows)
        np.testing.assert_allclose(logits, committee_logits[rows], rtol=1e-5, atol=1e-6)
        return diff[rows]

    committee_logits = committee.logits(middle)
    found = committee.gradient(middle, derivative)
    assert [(one.start, one.stop) for one in seen] == [(0, 3), (3, 6), (6, 9), (9, 10)]
    np.testing.assert_array_equal(found, committee.gradient(middle, diff))
    for place in range(SIZES[0]):
        moved = np.zeros_like(middle)
        moved[..., place] = step
        up, down = (
            (np.log(mean_probabilities(members, middle + sign * moved)) * diff).sum(axis=1)
            for sign in (1, -1)
        )
        expected = (up - down) / (2 * step)
        np.testing.assert_allclose(found[:, 0, 0, place], expected, rtol=0.02, atol=1e-5)


def test_sure_members_leave_a_gradient(tmp_path: Path) -> None:
    weights = np.array([[40, 0], [0, 40], [-40, 0]])
    committee = Committee([linear(tmp_path / name, weights) for name in "ab"])
    image = np.array([[[[200, 10]]]], np.uint8)
    assert committee.probabilities(image)[0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(committee.logits(image), [[0, -7600, -16000]])
    # The margin between the first two: 40 for each grey level of the first pixel.
    gradient = committee.gradient(image, np.array([[1, -1, 0]], np.float32))
    np.testing.assert_allclose(gradient.ravel(), [40, -40])


def test_what_is_refused(members: list[Model], tmp_path: Path) -> None:
    committee = Committee(members)
    with pytest.raises(ValueError, match="at least one member"):
        Committee([])
    with pytest.raises(ValueError, match="has classes 4, member 2 3"):
        Committee([members[0], linear(tmp_path / "3", np.ones((3, SIZES[0])))])
    with pytest.raises(ValueError, match=r"input .* member 2 \(1, 1, 2\)"):
        Committee([members[0], linear(tmp_path / "2", np.ones((4, 2)))])
    with pytest.raises(ValueError, match="no blob 'ip1'"):
        committee.gradient(IMAGES, np.ones((10, 4), np.float32), through="ip1")
    with pytest.raises(ValueError, match="9 rows for 10 images"):
        committee.gradient(IMAGES, np.ones((9, 4), np.float32))
    with pytest.raises(ValueError, match=r"shape \(3, 5\), the logits \(3, 4\)"):
        committee.gradient(IMAGES, np.ones((10, 5), np.float32))
    with pytest.raises(RuntimeError, match="from inside"):
        committee.gradient(IMAGES, lambda logits, _: committee.logits(IMAGES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the weights of two nets, and the description of one."""
    for number, name in enumerate(("first", "second")):
        write_model(tmp_path / name, LINEAR.replace("score", f"score{number}"), seed=number)
    settings = {"deploy": "first/deploy.prototxt", "weights": "first/w.caffemodel", "scale": 0.01}
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(settings | {"classes": ["a", "b", "c"]}))
    return tmp_path


def write(folder: Path, **changes: Any) -> Path:
    second = {"deploy": "second/deploy.prototxt", "weights": "second/w.caffemodel", "scale": 0.02}
    settings = {"name": "two", "members": ["first.yaml", second]} | changes
    path = folder / "both.yaml"
    given = {key: value for key, value in settings.items() if value is not None}
    path.write_text(yaml.safe_dump(given))
    return path


def test_a_committee_by_its_file(folder: Path) -> None:
    described = read_loadable(write(folder))
    assert isinstance(described, CommitteeDescription)
    assert (described.name, described.name_class(1)) == ("two", "b")
    for none in (None, ""):
        assert read_loadable(write(folder, name=none)).name == "both"
    odd = (folder / "both.yaml").rename(folder / os.fsdecode(b"caf\xe9.yaml"))
    assert read_loadable(odd).name == "caf\ufffd"
    images = random.integers(0, 256, (5, 1, 2, 2), dtype=np.uint8)
    members: list[Model] = [one.load() for one in described.members]
    found = described.load(batch_size=2)
    assert found.batch_size == 2
    np.testing.assert_allclose(
        found.probabilities(images), mean_probabilities(members, images), rtol=1e-5
    )
    single = read_loadable(folder / "first.yaml")
    assert single.identify() == read_model(folder / "first.yaml").identify()
    identity = described.with_name("other").identify()
    assert identity["members"][0] == single.identify()
    assert "name" not in identity
    key = described.cache_key
    assert key == read_loadable(write(folder)).cache_key != single.cache_key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": []}, "must be a list of two or more"),
        ({"members": ["first.yaml"]}, "must be a list of two or more"),
        ({"members": ["first.yaml"] * 101}, "must be at most 100 models, not 101"),
        ({"members": ["first.yaml", 3]}, "member 2: must be the name of a YAML file"),
        ({"members": ["first.yaml", {"weights": "w"}]}, "yaml: member 2: `deploy:`, .* is missing"),
        ({"members": ["first.yaml", "both.yaml"]}, "member 2: .* a committee of networks; a"),
        ({"members": ["first.yaml", "gone.yaml"]}, r"member 2: .*gone\.yaml: No such file"),
        ({"members": ["first.yaml", ""]}, "both.yaml: member 2: .*: not a regular file"),
        ({"scale": 2}, "unknown key 'scale' beside `members:`"),
        ({"name": 7}, "`name:` must be text"),
    ],
)
def test_bad_files_are_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    path = write(folder, **changes)
    with pytest.raises((ValueError, OSError), match=message):
        read_loadable(path)


def test_where_one_network_is_needed(folder: Path) -> None:
    path = write(folder)
    with pytest.raises(ValueError, match="makes a committee of networks"):
        read_model(path)
    with pytest.raises(ValueError, match="is a committee, whose members have their own weights"):
        read_loadable(path, folder / "first" / "w.caffemodel")
    with pytest.raises(UnboundableError, match="two: bounds are those of one network"):
        read_network(read_loadable(path))


def test_names_of_classes_must_agree(folder: Path) -> None:
    text = (folder / "first.yaml").read_text().replace("- b", "- x")
    (folder / "other.yaml").write_text(text)
    with pytest.raises(ValueError, match="different names of classes"):
        read_loadable(write(folder, members=["first.yaml", "other.yaml"]))


def test_the_programs_take_committees(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = folder / "images.npy"
    np.save(images, random.integers(0, 256, (6, 1, 2, 2), dtype=np.uint8))
    labels = folder / "labels.npy"
    np.save(labels, np.arange(6) % 3)
    common = ["--images", f"{images}", "--labels", f"{labels}", "--model", f"{write(folder)}"]
    assert hotcold([*common, "--output", f"{folder / 'hc'}"]) == 0
    assert "both.yaml, 2 members" in capsys.readouterr().err
    budget = ["--within", "8", "--norm", "linf", "--cascade", "pgd=E/4x3"]
    assert evaluate([*common, "--quick", "--output", f"{folder / 'report'}", *budget]) == 0
    page = (folder / "report" / "report.html").read_text()
    assert "two, member 2 of 2, predictions averaged" in page
    noise = ["--sigma", "5", "--n", "20"]
    assert certify(["smoothing", *common, "--output", f"{folder / 'certificate'}", *noise]) == 0
