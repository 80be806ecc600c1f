"""The plug-in's layers from Python: prototxts with caffe_ext_param, in text and by net_spec."""

from pathlib import Path

import caffe
import numpy as np
import pytest
from caffe import layers as L  # noqa: N812  (as everybody calls it)
from caffe import params as P  # noqa: N812
from caffe.proto import caffe_pb2
from google.protobuf import text_format

import caffe_ext  # noqa: F401  (loads the plug-in)

NETWORK = """
input: "data" input_shape { dim: 2 dim: 3 dim: 5 dim: 5 }
layer {
  name: "noise" type: "GaussianNoise" bottom: "data" top: "noisy"
  caffe_ext_param { gaussian_noise { sigma: 8 scale: 0.25 phases: TEST } }
}
"""


def test_python_reads_the_parameters() -> None:
    network = text_format.Parse(NETWORK, caffe_pb2.NetParameter())
    noise = network.layer[0].caffe_ext_param.gaussian_noise
    assert (noise.sigma, noise.scale, noise.phases) == (8, 0.25, noise.TEST)
    assert caffe_pb2.NetParameter.FromString(network.SerializeToString()) == network


@pytest.mark.any_device
def test_a_network_with_noise(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NETWORK)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    passes = []
    for _ in range(2):
        caffe.set_random_seed(3)
        net.blobs["data"].data[...] = 100
        passes.append(net.forward()["noisy"].copy())
    np.testing.assert_array_equal(*passes)
    assert 1 < (passes[0] - 100).std() < 3
    quiet = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    quiet.blobs["data"].data[...] = 100
    assert (quiet.forward()["noisy"] == 100).all()


def test_net_spec_writes_the_parameters(tmp_path: Path) -> None:
    spec = caffe.NetSpec()
    spec.data = L.Input(shape=[{"dim": [1, 4]}])
    spec.noisy = L.GaussianNoise(spec.data, caffe_ext_param={"gaussian_noise": {"sigma": 2}})
    spec.relu = L.ReLU(spec.noisy, relu_param={"engine": P.ReLU.CAFFE})
    (tmp_path / "net.prototxt").write_text(str(spec.to_proto()))
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TRAIN)
    assert net.forward()["relu"].shape == (1, 4)


def test_a_bad_parameter_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(NETWORK.replace("sigma: 8", ""))
    with pytest.raises((ValueError, RuntimeError), match=r"layer 'noise'.* needs a standard"):
        caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
