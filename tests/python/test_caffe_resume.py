"""Training that is resumed gives the weights of one without a break, to the last bit."""

from pathlib import Path
from typing import Any

import caffe
import h5py
import numpy as np
import pytest
from PIL import Image

from caffe_nets import program

IMAGES, BATCH = 23, 4
DATA = {
    "LMDB": 'type: "Data" {transform} data_param {{ source: "base" batch_size: 4 backend: LMDB }}',
    "LevelDB": 'type: "Data" {transform} data_param {{ source: "level" batch_size: 4 }}',
    "list": 'type: "ImageData" {transform} image_data_param {{ source: "list" batch_size: 4 }}',
    "shuffled": 'type: "ImageData" {transform} image_data_param {{ source: "list" batch_size: 4 '
    "shuffle: true rand_skip: 3 }}",
    "HDF5": 'type: "HDF5Data" hdf5_data_param {{ source: "files" batch_size: 4 }}',
}
TRANSFORM = "transform_param { crop_size: 6 mirror: true scale: 0.01 }"
NET = """
layer {{ name: "data" top: "x" top: "label" {data} }}
layer {{ name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param {{
  num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }} }}
{dropout}
layer {{ name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param {{
  num_output: 5 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
"""
DROPOUT = """layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }"""
SOLVER = """
net: "net.prototxt" base_lr: 0.05 lr_policy: "step" stepsize: 7 gamma: 0.5 momentum: 0.9
random_seed: 3 snapshot_prefix: "a" snapshot: 5 max_iter: {iterations} {more}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with images in all the forms that Caffe reads."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (IMAGES, 8, 8, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(f"{number}.png")
    Path("list").write_text("".join(f"{number}.png {number % 5}\n" for number in range(IMAGES)))
    for backend, base in (("lmdb", "base"), ("leveldb", "level")):
        command = ("convert_imageset", f"-backend={backend}", "", "list", base)
        assert program(*command).returncode == 0
    for name, rows in (("a.h5", slice(0, 9)), ("b.h5", slice(9, None))):
        with h5py.File(name, "w") as file:
            file["x"] = pixels[rows].transpose(0, 3, 1, 2).astype(np.float32) / 100
            file["label"] = np.arange(IMAGES, dtype=np.float32)[rows] % 5
    Path("files").write_text("a.h5\nb.h5\n")
    return tmp_path


def train(iterations: int, *arguments: str, more: str = "") -> str:
    Path("solver.prototxt").write_text(SOLVER.format(iterations=iterations, more=more))
    done = program("caffe", "train", "-solver=solver.prototxt", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stderr


def weights(name: str) -> list[Any]:
    net = caffe.Net("net.prototxt", caffe.TEST, weights=name)
    return [blob.data.copy() for blobs in net.params.values() for blob in blobs]


def same(first: list[Any], second: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("snapshot_format", ["BINARYPROTO", "HDF5"])
@pytest.mark.parametrize("dropout", ["", DROPOUT], ids=["no-dropout", "dropout"])
@pytest.mark.parametrize("kind", DATA)
def test_resumed_is_the_same(kind: str, dropout: str, snapshot_format: str) -> None:
    data = DATA[kind].format(transform=TRANSFORM)
    Path("net.prototxt").write_text(NET.format(data=data, dropout=dropout))
    more = f"snapshot_format: {snapshot_format} iter_size: 3"
    end = ".h5" if snapshot_format == "HDF5" else ""
    train(10, more=more)
    unbroken = weights(f"a_iter_10.caffemodel{end}")
    assert not same(unbroken, weights(f"a_iter_5.caffemodel{end}"))
    Path(f"a_iter_10.caffemodel{end}").unlink()
    train(10, f"-snapshot=a_iter_5.solverstate{end}", more=more)
    assert same(weights(f"a_iter_10.caffemodel{end}"), unbroken)


def test_tests_go_on_too() -> None:
    data = DATA["LMDB"].format(transform="")
    Path("net.prototxt").write_text(NET.format(data=data, dropout=""))
    more = "test_iter: 3 test_interval: 2 test_compute_loss: true"
    unbroken = [
        line.partition("] ")[2] for line in train(10, more=more).splitlines() if "Test" in line
    ]
    log = train(10, "-snapshot=a_iter_5.solverstate", more=more)
    resumed = [line.partition("] ")[2] for line in log.splitlines() if "Test" in line]
    losses = [line for line in unbroken if "Test loss" in line]
    assert len(losses) == 6
    assert [line for line in resumed if "Test loss" in line] == losses[3:]


def test_a_restored_solver_in_python() -> None:
    data = DATA["LMDB"].format(transform=TRANSFORM)
    Path("net.prototxt").write_text(NET.format(data=data, dropout=DROPOUT))
    Path("solver.prototxt").write_text(SOLVER.format(iterations=10, more=""))
    solver = caffe.get_solver("solver.prototxt")
    solver.step(8)
    labels = solver.net.blobs["label"].data.copy()
    values = solver.net.params["fc"][0].data.copy()
    for _ in range(2):
        solver.restore("a_iter_5.solverstate")
        solver.step(3)
        assert np.array_equal(solver.net.blobs["label"].data, labels)
        assert np.array_equal(solver.net.params["fc"][0].data, values)


def test_what_cannot_go_on_is_named() -> None:
    data = DATA["HDF5"].format(transform="").replace("batch_size: 4", "batch_size: 4 shuffle: true")
    Path("net.prototxt").write_text(NET.format(data=data, dropout=DROPOUT))
    train(5)
    log = train(6, "-snapshot=a_iter_5.solverstate")
    assert "layer 'data' (HDF5Data) starts over: its data differ" in log
    message = caffe.proto.caffe_pb2.SolverState.FromString(
        Path("a_iter_5.solverstate").read_bytes()
    )
    assert message.random_state
    message.ClearField("random_state")  # as stock Caffe writes it
    Path("a_iter_5.solverstate").write_bytes(message.SerializeToString())
    log = train(6, "-snapshot=a_iter_5.solverstate")
    assert "holds no random number state" in log


def test_rows_of_a_test_are_not_shared_between_solvers() -> None:
    """As training's are; each solver's test net reads all rows."""
    Path("net.prototxt").write_text(NET.format(data=DATA["HDF5"].format(), dropout=""))
    more = "test_iter: 1 test_interval: 2"
    Path("solver.prototxt").write_text(SOLVER.format(iterations=10, more=more))

    def find_last_batch(state: str | None) -> Any:
        solver = caffe.get_solver("solver.prototxt")
        if state is not None:
            solver.restore(state)
        solver.step(10 - solver.iter)
        return solver.test_nets[0].blobs["x"].data.copy()

    caffe.set_solver_count(2)
    try:
        whole = find_last_batch(None)
        assert np.array_equal(find_last_batch("a_iter_5.solverstate"), whole)
    finally:
        caffe.set_solver_count(1)
