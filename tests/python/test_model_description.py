"""models/description.py: every key of a model file, and the error where one is wrong."""

import json
import os
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from attack_samples import linear, rows
from caffe_ext.models.description import (
    ModelDescription,
    describe_model,
    make_names_distinct,
    read_model,
)
from caffe_ext.models.settings import KEYS
from caffe_ext.storage.provenance import hash_file
from caffe_ext.training.model_file import write_model_file

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with deploy.prototxt and net.caffemodel, three classes of (1, 1, 2)."""
    linear(tmp_path / "sub", [[1, 2], [3, -1], [0, 0.5]], [1, 0, -1])
    return tmp_path / "sub"


def write(folder: Path, **settings: Any) -> Path:
    """Write a YAML file beside the folder."""
    path = folder.parent / "model.yaml"
    settings = {"deploy": "sub/deploy.prototxt", "weights": "sub/net.caffemodel"} | settings
    path.write_text(yaml.safe_dump({k: v for k, v in settings.items() if v is not None}))
    return path


def write_mean(path: Path, values: NDArray[np.float32]) -> None:
    """Write a mean as compute_image_mean does."""
    path.write_bytes(caffe.io.array_to_blobproto(values[None]).SerializeToString())


def test_the_least_that_a_file_has(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(folder)
    monkeypatch.chdir("/")  # paths are relative to the file
    model = read_model(path)
    assert (model.name, model.logits, model.classes) == ("net", None, ())
    assert model.weights == folder / "net.caffemodel"
    space = model.pixel_space
    assert (space.scale, space.mean, space.channel_order, space.crop) == (1, None, "RGB", None)
    classifier = model.load(7)
    assert classifier.batch_size == 7
    assert classifier.logits(rows([1, 2])).tolist() == [[6, 1, 0]]
    assert [model.name_class(number) for number in (0, 2, -1)] == ["0", "2", "-1"]


def test_all_keys(folder: Path) -> None:
    path = write(
        folder,
        name="my net",
        scale=0.5,
        mean=[4],
        channel_order="BGR",
        crop=1,
        logits="score",
        classes=["cat", "dog", 3],
    )
    model = read_model(path)
    assert model.name == "my net"
    assert model.logits == "score"
    assert model.classes == ("cat", "dog", "3")
    assert [model.name_class(number) for number in (0, 2, -1, 3)] == ["cat", "3", "-1", "3"]
    space = model.pixel_space
    assert (space.scale, space.mean.tolist(), space.channel_order, space.crop) == (
        0.5,
        [4],
        "BGR",
        1,
    )
    assert {*yaml.safe_load(path.read_text()), "std"} == set(KEYS)


def test_scales_of_channels(folder: Path) -> None:
    model = read_model(write(folder, scale=[0.5, 1, "4e-3"]))
    assert model.pixel_space.scale == (0.5, 1, 0.004)
    assert json.loads(json.dumps(model.as_record()))["scale"] == [0.5, 1, 0.004]
    assert read_model(write(folder, std=[2, 4, 8])).pixel_space.scale == (0.5, 0.25, 0.125)
    assert read_model(write(folder, std=4)).pixel_space.scale == 0.25


@pytest.mark.parametrize("suffix", ["yaml", "prototxt"])
@pytest.mark.parametrize(
    "comment", ["\ufeff# bom".encode(), "# größe".encode("latin-1"), b"# \xca"]
)
def test_comments_need_not_be_utf8(folder: Path, suffix: str, comment: bytes) -> None:
    path = write(folder)
    changed = path if suffix == "yaml" else folder / "deploy.prototxt"
    changed.write_bytes(comment + b"\n" + changed.read_bytes())
    assert read_model(path).load(2).classes == 3


def test_names_must_be_utf8(folder: Path) -> None:
    path, deploy = write(folder), folder / "deploy.prototxt"
    good = deploy.read_bytes()
    deploy.write_bytes(good.replace(b"'score'", b"'\xca'"))
    with pytest.raises(ValueError, match=r"deploy\.prototxt: .* is not UTF-8"):
        read_model(path).load()
    deploy.write_bytes(good + b"layers { name: 'old' type: RELU bottom: 'score' top: 'score' }")
    with pytest.raises(ValueError, match=r"has both `layer` and the older `layers`"):
        read_model(path).load()
    path.write_bytes(path.read_bytes() + b"name: \xff\n")
    with pytest.raises(ValueError, match=r"model\.yaml: '.' is not UTF-8; only comments may"):
        read_model(path)


def test_weights_from_the_command_line(folder: Path) -> None:
    other = folder.parent / "other.caffemodel.h5"
    other.write_bytes((folder / "net.caffemodel").read_bytes())
    for path in (write(folder, name="mine"), write(folder, weights=None)):
        model = read_model(path, other)
        assert (model.name, model.weights) == ("other", other)
    with pytest.raises(ValueError, match=r"is missing; name .* --weights \(in Python weights=\)"):
        read_model(write(folder, weights=None))


@pytest.mark.parametrize("text", ["4e-3", 0.004, "0.004", ".4e-2"])
def test_scales_that_yaml_takes_for_text(folder: Path, text: Any) -> None:
    assert read_model(write(folder, scale=text)).pixel_space.scale == 0.004


def test_means(folder: Path) -> None:
    image = np.arange(2, dtype=np.float32).reshape(1, 1, 2)
    write_mean(folder / "mean.binaryproto", image)
    np.save(folder / "mean.npy", image + 1)
    for name, expected in (("mean.binaryproto", image), ("mean.npy", image + 1)):
        model = read_model(write(folder, mean=f"sub/{name}"))
        assert np.array_equal(model.pixel_space.mean, expected)
    assert read_model(write(folder, mean=7)).pixel_space.mean == 7
    model = describe_model(
        {
            "deploy": str(folder / "deploy.prototxt"),
            "weights": str(folder / "net.caffemodel"),
            "mean": image,
        }
    )
    assert np.array_equal(model.pixel_space.mean, image)


def test_records_tell_what_results_depend_on(folder: Path) -> None:
    record = read_model(write(folder, scale=2, mean=[3])).as_record()
    assert record == {
        "name": "net",
        "deploy": str(folder / "deploy.prototxt"),
        "deploy_sha256": hash_file(folder / "deploy.prototxt"),
        "weights": str(folder / "net.caffemodel"),
        "weights_sha256": hash_file(folder / "net.caffemodel"),
        "scale": 2.0,
        "mean": [3.0],
        "channel_order": "RGB",
        "crop": None,
        "logits": None,
    }
    assert read_model(write(folder)).as_record()["mean"] is None
    # Images with the same mean value are told apart.
    means = []
    for values in ([0, 1], [1, 0]):
        np.save(folder / "mean.npy", np.array(values, np.float32).reshape(1, 1, 2))
        means.append(read_model(write(folder, mean="sub/mean.npy")).as_record()["mean"])
    assert means[0].startswith("image (1, 1, 2), mean 0.5, ")
    assert means[0] != means[1]


def test_names_of_classes(folder: Path) -> None:
    file = folder.parent / "words.txt"
    file.write_text("n01440764 tench, Tinca tinca\n\nn01443537 goldfish\nn02132136 bear\n")
    assert read_model(write(folder, classes="words.txt")).classes == (
        "tench, Tinca tinca",
        "goldfish",
        "bear",
    )
    for names in (["n01440764 tench", "b", "c"], ["n1", "n22", "n3 x"], ["n123456789 x", "a", "b"]):
        assert read_model(write(folder, classes=names)).classes == tuple(names)
    file.write_text("Katze\nHund\nKüken\n", encoding="utf-8")
    assert read_model(write(folder, classes="words.txt")).classes[2] == "Küken"


def test_another_number_of_classes_is_noticed_as_the_net_is_loaded(folder: Path) -> None:
    model = read_model(write(folder, classes=["a", "b"]))
    with pytest.raises(
        ValueError, match=r"^`classes:` has 2 names, but the network .* has 3 classes$"
    ):
        model.load()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"scael": 1},
            r"unknown key 'scael' \(did you mean scale\?\); keys: name, deploy, weights, scale,",
        ),
        ({"size": 1}, "unknown key 'size'; keys: name, deploy, weights, scale, std, mean,"),
        (
            {"smooting": {}},
            r"unknown key 'smooting' \(did you mean smoothing\?\); keys: .*, classes, smoothing",
        ),
        ({"member": []}, r"unknown key 'member' \(did you mean members\?\)"),
        ({"deploy": None}, "`deploy:`, the prototxt of the network, is missing"),
        ({"deploy": 3}, "`deploy:` must be text, not 3"),
        ({"name": ["a"]}, "`name:` must be text, not"),
        ({"logits": 2}, "`logits:` must be text, not 2"),
        ({"scale": "1/256"}, "`scale:` must be a number, not '1/256'"),
        ({"scale": True}, "`scale:` must be a number, not True"),
        ({"scale": [[1]]}, r"`scale:` must be a number, not \[1\]; or a list with one per channel"),
        ({"scale": []}, "scale must be above 0"),
        ({"std": 0}, "`std:` must be above 0, not 0"),
        ({"std": [1, "a"]}, "`std:` must be a number"),
        ({"std": 2, "scale": 2}, "`scale:` and `std:` are one setting"),
        ({"name": "\x1b[31m"}, r"`name:` has characters that cannot be shown: '\\x1b\[31m'"),
        ({"name": "a\u202eb"}, r"`name:` has characters that cannot be shown: 'a\\u202eb'"),
        ({"name": "a\ud800"}, "`name:` has characters that cannot be shown: 'a.ud800'"),
        ({"classes": ["a", "b\n", "c"]}, "`classes:` has characters that cannot be shown"),
        ({"scale": 0}, "scale must be above 0"),
        ({"scale": "nan"}, "scale must be above 0"),
        ({"scale": 10**400}, "`scale:` must be a number"),
        ({"crop": 27.5}, "`crop:` must be a whole number, not 27.5"),
        ({"crop": "227"}, "`crop:` must be a whole number, not '227'"),
        ({"crop": True}, "`crop:` must be a whole number, not True"),
        ({"crop": 0}, "crop must be 1 or more"),
        ({"channel_order": "GBR"}, "channel_order must be RGB or BGR"),
        ({"channel_order": ["RGB"]}, "channel_order must be RGB or BGR"),
        (
            {"mean": {"a": 1}},
            "`mean:` must be a number, a list with one per channel, or the name of a file",
        ),
        ({"mean": True}, "`mean:` must be a number"),
        ({"mean": ["a", "b"]}, "`mean:` must be a number"),
        ({"mean": [[1, 2], [3]]}, "`mean:` "),
        ({"mean": [[1, 2], [3, 4]]}, "mean must be finite, one number"),
        ({"mean": "words.txt"}, "`mean:` .*words.txt"),
        ({"mean": "empty.npy"}, "`mean:` "),
        ({"classes": []}, "`classes:` must be a list of names, or a file with one name per line"),
        ({"classes": 5}, "`classes:` must be a list of names"),
        ({"classes": "empty.npy"}, "`classes:` must be a list of names"),
        ({"classes": "latin.txt"}, "`classes:` .*latin.txt: .* is not UTF-8"),
        ({"classes": ["a", False, "c"]}, "`classes:` has False; put names into quotes"),
        ({"classes": ["a", ["b"], "c"]}, r"`classes:` has \['b'\]; put names into quotes"),
    ],
)
def test_settings_that_make_no_sense(folder: Path, settings: dict[str, Any], says: str) -> None:
    (folder.parent / "words.txt").write_text("no mean")
    (folder.parent / "empty.npy").write_bytes(b"")
    (folder.parent / "latin.txt").write_bytes("Küken".encode("latin-1"))
    path = write(folder, **settings)
    with pytest.raises(ValueError, match=f"^{path}: {says}"):
        read_model(path)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"deploy": "x.prototxt"}, "`deploy:` .*x.prototxt is not a file"),
        ({"weights": "x.h5"}, "`weights:` .*x.h5 is not a file"),
        ({"weights": "sub"}, "`weights:` .*sub is not a file"),
        ({"mean": "x.npy"}, "`mean:` .*x.npy does not exist$"),
        ({"mean": "x.binaryproto"}, "`mean:` .*x.binaryproto does not exist$"),
        ({"classes": "x.txt"}, "`classes:` .*x.txt does not exist$"),
        (
            {"mean": "../data/cifar10/mean.binaryproto"},
            "`mean:` .*cifar10/mean.binaryproto does not exist; `caffe-ext get-data cifar10` write",
        ),
        ({"classes": "fifo"}, "`classes:` .*fifo: not a regular file"),
        ({"mean": "fifo"}, "`mean:` .*fifo: not a regular file"),
    ],
)
def test_files_that_are_not_there(folder: Path, settings: dict[str, Any], says: str) -> None:
    path = write(folder, **settings)
    os.mkfifo(folder.parent / "fifo")
    with pytest.raises(OSError, match=f"^{path}: {says}"):
        read_model(path)
    with pytest.raises(FileNotFoundError, match=r"^weights: /nowhere/a.h5 is not a file"):
        read_model(write(folder), Path("/nowhere/a.h5"))
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        read_model(folder / "none.yaml")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a: [", "is not YAML"),
        (b"\xff\xfe\xff", "must have lines of the form"),
        (b"classes: " + b"[" * 3000, "is nested too deeply"),
        (b"name: 2001-99-99", "is not YAML: month must be in 1..12"),
        (b"", "must have lines of the form `key: value`; keys: name, deploy"),
        (b"- a", "must have lines of the form"),
    ],
)
def test_files_that_are_no_descriptions(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path} {says}"):
        read_model(path)


@pytest.mark.parametrize("content", ["layer { name: 'a' }\ninput: [", "name: 'a'\n- b", "a"])
def test_a_prototxt_in_place_of_a_description(tmp_path: Path, content: str) -> None:
    path = tmp_path / "deploy.prototxt"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"^{path}: --model takes a YAML file whose `deploy:`"):
        read_model(path)


def named(*names: str, folder: str = "f") -> list[ModelDescription]:
    space: Any = None
    return [ModelDescription(name, Path(), Path(folder, "w"), space) for name in names]


def test_names_that_differ() -> None:
    def after(models: list[ModelDescription]) -> list[str]:
        return [model.name for model in make_names_distinct(models)]

    assert after(named("a", "b")) == ["a", "b"]
    assert after(named("a", folder="x") + named("a", folder="y") + named("b")) == [
        "x/a",
        "y/a",
        "b",
    ]
    assert after(named("a", "b", "a")) == ["f/a (1)", "b", "f/a (3)"]
    assert len(set(after(named("a", "a", "f/a", "f/a (1)")))) == 4
    assert make_names_distinct([]) == []


def test_the_networks_of_this_checkout_have_descriptions_that_can_be_read(folder: Path) -> None:
    for path in sorted((ROOT / "prototxt").glob("*.yaml")):
        text = yaml.safe_load(path.read_text())
        if isinstance(text.get("mean"), str):
            continue  # is made by get_data.py
        assert read_model(path, folder / "net.caffemodel").deploy.is_file()


@pytest.mark.parametrize(
    "odd", ["a #1", "b: c", "- d", "7", "1e5", "null", "it's", 'e "f"', "\u00fc\U0001f600"]
)
def test_model_files_that_programs_write_have_any_name_and_path(folder: Path, odd: str) -> None:
    place = folder.rename(folder.with_name(odd))
    template = place / "template.yaml"
    template.write_text("# Comment\ndeploy: deploy.prototxt\nname: old\nscale: 0.5\n")
    path = folder.with_name("model.yaml")
    write_model_file(template, path, name=odd, files={"weights": place / "net.caffemodel"})
    found = read_model(path)
    assert found.name == odd
    assert (found.deploy, found.weights) == (place / "deploy.prototxt", place / "net.caffemodel")
    assert found.load().classes == 3
    assert "\nscale: 0.5\n" in path.read_text()
