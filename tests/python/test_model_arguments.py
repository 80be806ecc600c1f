"""cli/model_arguments.py: which models the arguments select."""

import argparse
from pathlib import Path

import pytest

from attack_samples import linear
from caffe_ext.cli import model_arguments
from caffe_ext.cli.model_arguments import add_model_arguments, find_models, find_newest_weights
from caffe_ext.models.settings import KEYS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a.yaml, b.yaml (the same net) and weights."""
    linear(tmp_path / "net", [[1, 2], [3, -1]])
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_text(
            f"name: {name}\ndeploy: net/deploy.prototxt\nweights: net/net.caffemodel\n"
        )
    return tmp_path


def parsed(*words: object, several: bool = True) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_model_arguments(parser, several=several)
    return parser.parse_args([str(word) for word in words])


def test_models_and_weights(folder: Path) -> None:
    models = find_models(parsed("--model", folder / "a.yaml", folder / "b.yaml"))
    assert [model.name for model in models] == ["a", "b"]
    net = folder / "net" / "net.caffemodel"
    other = folder / "other.caffemodel"
    other.write_bytes(net.read_bytes())
    models = find_models(parsed("--model", folder / "a.yaml", "--weights", net, other))
    assert [model.name for model in models] == ["net", "other"]
    (one,) = find_models(parsed("--model", folder / "a.yaml", several=False))
    assert one.name == "a"
    twice = find_models(parsed("--model", folder / "a.yaml", folder / "a.yaml"))
    assert len({model.name for model in twice}) == 2


def test_weights_alone_are_lenet_s(folder: Path) -> None:
    weights = folder / "net" / "net.caffemodel"
    (model,) = find_models(parsed("--weights", weights))
    assert (model.name, model.weights) == ("net", weights)
    assert model.deploy.name == "lenet_deploy.prototxt"
    assert model.pixel_space.scale == 1 / 256


def test_what_cannot_be_meant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = ["--model", folder / "a.yaml", folder / "b.yaml"]
    with pytest.raises(ValueError, match="--weights needs exactly one --model"):
        find_models(parsed(*models, "--weights", folder / "net" / "net.caffemodel"))
    with pytest.raises(ValueError, match="--batch-size must be at least 1, not 0"):
        find_models(parsed("--batch-size", "0"))
    monkeypatch.setattr(model_arguments, "DEMO", {"LeNet": folder / "nowhere"})
    with pytest.raises(FileNotFoundError, match="no model found: run `make demo` to train two"):
        find_models(parsed())


def test_those_of_the_demo_otherwise(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "x_iter_5.caffemodel").touch()
    monkeypatch.setattr(model_arguments, "DEMO", {"LeNet": folder, "LeNet with BANG": folder})
    models = find_models(parsed())
    assert [model.name for model in models] == ["LeNet", "LeNet with BANG"]
    assert models[0].weights == folder / "x_iter_5.caffemodel"


def test_the_newest_weights(tmp_path: Path) -> None:
    assert find_newest_weights(tmp_path) is None
    assert find_newest_weights(tmp_path / "nowhere") is None
    names = ["n_iter_900.caffemodel", "n_iter_10000.caffemodel", "n_iter_x.caffemodel"]
    names += ["n_iter_20000.solverstate", "n_iter_30000.txt", "n.caffemodel"]
    for name in names:
        (tmp_path / name).touch()
    assert find_newest_weights(tmp_path) == tmp_path / "n_iter_10000.caffemodel"
    hdf5 = tmp_path / "n_iter_10500.caffemodel.h5"  # snapshot_format: HDF5
    hdf5.touch()
    assert find_newest_weights(tmp_path) == hdf5


def test_help_for_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--help-model")
    assert ended.value.code == 0
    model, committee = capsys.readouterr().out.split("A committee is ")
    assert model.startswith("The YAML file of a model says how to use a Caffe network")
    for key in KEYS:
        assert f"\n{key}: " in model
    assert "\nmembers: " in committee
