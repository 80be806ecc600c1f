"""Results of networks with Python layers depend on the layers' modules."""

import sys
from pathlib import Path
from typing import Any

import pytest
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.models.description import describe_model
from caffe_ext.models.python_layers import hash_modules
from caffe_ext.storage.description import list_differences
from caffe_ext.storage.provenance import hash_file
from caffe_ext.sweeps.compute import RefusalError, compute_point
from classifier_models import write_model
from sweep_samples import DEPLOY, NET, plan_sweep

LAYER = """
import caffe


class Copy(caffe.Layer):
    def setup(self, bottom, top):
        pass

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data

    def backward(self, top, down, bottom):
        bottom[0].diff[...] = top[0].diff
"""
PROTOTXT = """
layer { name: "copy" type: "Python" bottom: "data" top: "copied"
  python_param { module: "copying" layer: "Copy" } }
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir()
    path = folder / "copying.py"
    path.write_text(LAYER)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "copying", raising=False)
    return path


def parse(text: str) -> caffe_pb2.NetParameter:
    return text_format.Parse(text, caffe_pb2.NetParameter())


def test_digests_of_modules(module: Path) -> None:
    assert hash_modules([parse(DEPLOY)]) == {}
    both = [parse(DEPLOY), parse(PROTOTXT), parse(PROTOTXT)]
    assert hash_modules(both) == {"copying": hash_file(module)}
    for missing in ("no_such_module", "no_such.module", "copying.part", "sys"):
        assert hash_modules([parse(PROTOTXT.replace("copying", missing))]) == {}


def test_the_record_of_a_model(module: Path, tmp_path: Path) -> None:
    deploy, weights = write_model(tmp_path)
    model = describe_model({"deploy": str(deploy)}, weights=weights)
    assert "python_modules" not in model.as_record()
    deploy.write_text(deploy.read_text() + PROTOTXT)
    before = model.identify()
    assert before["python_modules"] == {"copying": hash_file(module)}
    assert list_differences(model.identify(), before) == []
    module.write_text(LAYER.replace("bottom[0].data\n", "2 * bottom[0].data\n"))
    assert list_differences(model.identify(), before) == ["python_modules.copying"]


def describe_point(folder: Path, deploy: str = DEPLOY, net: str = NET) -> dict[str, Any]:
    """Return the description of a point whose networks are these."""
    changes = {"axes": {"bang_param.beta": [1.0]}, "baseline": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweep_samples.DEPLOY", deploy)
        patch.setattr("sweep_samples.NET", net)
        return dict(plan_sweep(folder, **changes).points[0].description)


@pytest.mark.parametrize("changed", ["deploy", "net"])
def test_points_of_a_sweep(module: Path, tmp_path: Path, changed: str) -> None:
    assert "modules" not in describe_point(tmp_path)
    text = {"deploy": DEPLOY, "net": NET}[changed] + PROTOTXT
    before = describe_point(tmp_path, **{changed: text})
    assert before["modules"] == {"copying": hash_file(module)}
    assert describe_point(tmp_path, **{changed: text}) == before
    module.write_text(LAYER + "# another\n")
    assert describe_point(tmp_path, **{changed: text}) != before


def test_a_worker_with_another_module_computes_nothing(module: Path, tmp_path: Path) -> None:
    point = describe_point(tmp_path, deploy=DEPLOY + PROTOTXT)
    module.write_text(LAYER + "# another\n")
    with pytest.raises(RefusalError, match=r"module 'copying', .* is not the one of the sweep"):
        compute_point(point, tmp_path / "point", tmp_path / "data")
    module.unlink()
    with pytest.raises(RefusalError, match=r"no module 'copying', .*PYTHONPATH"):
        compute_point(point, tmp_path / "point", tmp_path / "data")
    assert not (tmp_path / "data").exists()
