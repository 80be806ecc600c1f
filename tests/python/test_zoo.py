"""prototxt/zoo/: networks and inputs are those of Caffe's own files and of the papers."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import caffe
import numpy as np
import pytest
import yaml
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.data import ImageSet, open_images, write_database
from caffe_ext.models.description import ModelDescription, read_model
from data_samples import CHECKOUT

ZOO = sorted((CHECKOUT / "prototxt" / "zoo").glob("*.yaml"))
MODELS = Path(caffe.__file__).parents[2] / "caffe" / "src" / "models"
CAFFES = {
    "alexnet": "bvlc_alexnet",
    "caffenet": "bvlc_reference_caffenet",
    "googlenet": "bvlc_googlenet",
}
# The side of the mean images that come with the models.
MEAN_SIDES = {"imagenet_mean.binaryproto": 256, "ResNet_mean.binaryproto": 224}


def read(path: Path, folder: Path) -> ModelDescription:
    """Read a description in a folder with the files that it names."""
    given = yaml.safe_load(path.read_text())
    (folder / given["weights"]).touch()
    shutil.copy(path.parent / given["deploy"], folder)
    if isinstance(given["mean"], str):
        side = MEAN_SIDES[given["mean"]]
        blob = caffe.io.array_to_blobproto(np.full((1, 3, side, side), 110.0))
        (folder / given["mean"]).write_bytes(blob.SerializeToString())
    return read_model(Path(shutil.copy(path, folder)))


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_descriptions(path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# ")
    assert "https://" in text
    model = read(path, tmp_path)
    space = model.pixel_space
    assert space.channel_order == "BGR"
    height, width = space.mean_size or (256, 256)
    side = space.crop or height
    images = np.full((1, 3, height, width), 200, np.uint8)
    assert space.to_input(images).shape == (1, 3, side, side)
    assert side in {224, 227}


@pytest.mark.parametrize(("name", "folder"), CAFFES.items())
def test_the_input_is_that_of_caffes_own_files(name: str, folder: str, tmp_path: Path) -> None:
    if not MODELS.is_dir():
        pytest.skip(f"{MODELS} is not there: pycaffe is not that of a build folder")
    (path,) = (one for one in ZOO if one.stem == name)
    space = read(path, tmp_path).pixel_space
    net = text_format.Parse(
        (MODELS / folder / "train_val.prototxt").read_text(), caffe_pb2.NetParameter()
    )
    (transform,) = (
        layer.transform_param
        for layer in net.layer
        if layer.type == "Data" and layer.include[0].phase == caffe.TEST
    )
    assert (space.crop, space.scale) == (transform.crop_size, transform.scale)
    given = yaml.safe_load(path.read_text())
    if transform.mean_value:
        assert given["mean"] == list(transform.mean_value)
    else:
        assert given["mean"] == Path(transform.mean_file).name
    assert given["weights"] in (MODELS / folder / "readme.md").read_text()
    ours, theirs = (
        layers_of(file)
        for file in (path.parent / given["deploy"], MODELS / folder / "deploy.prototxt")
    )
    assert ours == theirs


FINETUNED = CHECKOUT / "prototxt" / "zoo" / "googlenet_finetune_train_test.prototxt"


def read_finetuned() -> tuple[caffe_pb2.NetParameter, caffe_pb2.SolverParameter]:
    solver = text_format.Parse(
        (CHECKOUT / "solvers" / "googlenet_finetune.prototxt").read_text(),
        caffe_pb2.SolverParameter(),
    )
    assert CHECKOUT / solver.net == FINETUNED
    return text_format.Parse(FINETUNED.read_text(), caffe_pb2.NetParameter()), solver


def test_fine_tuning_is_bvlcs_training_of_googlenet() -> None:
    """Rozsa, Rudd and Boult, 2016, Section 5.3: 500,000 iterations, batches of 80, centre crops."""
    net, solver = read_finetuned()
    train = net.layer[0]
    assert (train.data_param.batch_size, train.transform_param.crop_size) == (80, 0)
    assert (solver.max_iter, solver.snapshot_prefix) == (500_000, "snapshots/googlenet_finetune")
    if not MODELS.is_dir():
        pytest.skip(f"{MODELS} is not there: pycaffe is not that of a build folder")
    folder = MODELS / "bvlc_googlenet"
    theirs = text_format.Parse(
        (folder / "train_val.prototxt").read_text(), caffe_pb2.NetParameter()
    )
    train.transform_param.crop_size = 224
    train.data_param.batch_size = theirs.layer[0].data_param.batch_size
    for layer in (*net.layer, *theirs.layer):
        if layer.type == "Data":
            layer.data_param.ClearField("source")
            layer.transform_param.mirror = layer.transform_param.mirror  # written out or not
        elif layer.type == "Pooling" and layer.pooling_param.stride == 1:
            layer.pooling_param.ClearField("stride")
    assert list(net.layer[:2]) == list(theirs.layer[:2])
    assert {layer.name: layer for layer in net.layer} == {
        layer.name: layer for layer in theirs.layer
    }
    quick = text_format.Parse(
        (folder / "quick_solver.prototxt").read_text(), caffe_pb2.SolverParameter()
    )
    for one in (solver, quick):
        for field in ("net", "type", "max_iter", "snapshot_prefix", "solver_mode"):
            one.ClearField(field)
    assert solver == quick


def test_googlenet_is_fine_tuned_on_an_lmdb(tmp_path: Path) -> None:
    net, solver = read_finetuned()
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 224, 224), np.uint8)
    write_database(tmp_path / "lmdb", ImageSet(images, np.array([3, 999])), 8)
    for layer in net.layer[:2]:
        layer.data_param.source, layer.data_param.batch_size = str(tmp_path / "lmdb"), 1
    solver.ClearField("net")
    solver.net_param.CopyFrom(net)
    solver.test_iter[:], solver.max_iter, solver.random_seed = [1], 1, 1
    solver.snapshot_prefix = str(tmp_path / "x")
    (tmp_path / "solver").write_text(text_format.MessageToString(solver))
    trained = caffe.get_solver(str(tmp_path / "solver"))
    deployed = set(caffe.Net(str(ZOO[0].parent / "googlenet_deploy.prototxt"), caffe.TEST).params)
    before = {name: trained.net.params[name][0].data.copy() for name in deployed}
    trained.step(1)
    # All layers of the deploy prototxt are trained, under the names that it loads.
    assert all((trained.net.params[name][0].data != before[name]).any() for name in deployed)


def test_hard_positives_of_googlenet_take_less_than_a_gibibyte(tmp_path: Path) -> None:
    model = read(ZOO[0].parent / "googlenet.yaml", tmp_path)
    caffe.set_random_seed(1)
    caffe.Net(str(model.deploy), caffe.TEST).save(str(model.weights))
    images = np.random.default_rng(0).integers(0, 256, (12, 3, 256, 256), np.uint8)
    predicted = model.load(4).predict(images)
    write_database(tmp_path / "lmdb", ImageSet(images[:, ::-1], predicted), 8)
    ran = subprocess.run(
        [
            *(sys.executable, CHECKOUT / "tools" / "hardpositives.py", "--batch-size", "10"),
            *("--model", tmp_path / "googlenet.yaml", "--images", tmp_path / "lmdb"),
            *("--image-order", "BGR", "--crop", "224x224", "--attacks", "hc1", "hc20"),
            *("--per-class", "11", "--output", tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    memory = re.search(r"peak memory ([\d,]+) MiB", ran.stdout)
    assert memory is not None
    assert int(memory[1].replace(",", "")) < 1024
    made = open_images(tmp_path / "out" / "train_lmdb", channel_order="BGR")
    assert made.image_shape == (3, 224, 224)
    # The originals are the centres of theirs; the others are misclassified.
    batch = made.read(slice(None))
    wrong = model.load(4).predict(batch.images) != batch.labels
    kept = {image.tobytes() for image in batch.images[~wrong]}
    assert kept == {image.tobytes() for image in images[:, :, 16:240, 16:240]}
    assert len(made) == 12 + wrong.sum() > 12


def write_random_weights(model: ModelDescription) -> None:
    """Write weights with which scores neither vanish nor overflow in the deepest networks."""
    caffe.set_random_seed(1)
    net = caffe.Net(str(model.deploy), caffe.TEST)
    for name, blobs in net.params.items():
        kind = net.layer_dict[name].type
        if kind == "BatchNorm":  # mean, variance, and what both are divided by
            for blob, value in zip(blobs, (0, 1, 1), strict=True):
                blob.data[...] = value
        elif kind == "Scale":
            blobs[0].data[...] = 0.3
    net.save(str(model.weights))


@pytest.mark.parametrize(("name", "batch_size"), [("googlenet", 10), ("resnet152", 2)])
def test_hot_cold_on_networks_for_imagenet(name: str, batch_size: int, tmp_path: Path) -> None:
    """Section 5.3 of the PASS paper, with the centre of an image and random weights."""
    model = read(ZOO[0].parent / f"{name}.yaml", tmp_path)
    write_random_weights(model)
    images = np.random.default_rng(0).integers(0, 256, (1, 3, 256, 256), np.uint8)
    np.save(tmp_path / "images.npy", images)
    ran = subprocess.run(
        [
            *(sys.executable, CHECKOUT / "tools" / "hotcold.py", "--batch-size", f"{batch_size}"),
            *("--model", tmp_path / f"{name}.yaml", "--images", tmp_path / "images.npy"),
            *("--crop", "224x224", "--hot", "1", "20", "--output", tmp_path / "out"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    (found,) = json.loads((tmp_path / "out" / "summary.json").read_text())["models"]
    nearest, _ = found["attacks"]
    assert (nearest["attempted"], nearest["found"]) == (1, 1)


def layers_of(file: Path) -> dict[str, caffe_pb2.LayerParameter]:
    """Return what counts of the layers, by name: not the fillers and learning rates."""
    net = text_format.Parse(file.read_text(), caffe_pb2.NetParameter())
    for layer in net.layer:
        layer.ClearField("param")
        for kind in ("convolution_param", "inner_product_param"):
            if layer.HasField(kind):
                getattr(layer, kind).ClearField("weight_filler")
                getattr(layer, kind).ClearField("bias_filler")
        if layer.HasField("pooling_param") and layer.pooling_param.stride == 1:
            layer.pooling_param.ClearField("stride")
        for shape in layer.input_param.shape:
            shape.dim[0] = 1
    return {layer.name: layer for layer in net.layer}


# As the papers' tables and other implementations have them: weights, biases, scales and shifts.
# ResNet-50 has 64 more, the published weights' bias of conv1; MobileNet v2 1,088 more, an expansion
# of its first block that the paper spares.
PARAMETERS = {
    "alexnet": 60_965_224,
    "caffenet": 60_965_224,
    "googlenet": 6_998_552,
    "mobilenet": 4_231_976,
    "mobilenet_v2": 3_504_872 + 1_088,
    "resnet50": 25_557_032 + 64,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "squeezenet_v1.1": 1_235_496,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
}


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_networks(path: Path) -> None:
    net = caffe.Net(str(path.with_name(f"{path.stem}_deploy.prototxt")), caffe.TEST)
    sizes = [
        blob.data.size
        for name, blobs in net.params.items()
        if net.layer_dict[name].type != "BatchNorm"
        for blob in blobs
    ]
    assert sum(sizes) == PARAMETERS[path.stem]
    assert net.blobs["prob"].data.size == 1000


def test_the_files_are_what_the_script_writes(tmp_path: Path) -> None:
    script = ZOO[0].parent / "write_networks.py"
    shutil.copy(script, tmp_path)
    subprocess.run([sys.executable, tmp_path / script.name], check=True)
    written = {one.name: one.read_text() for one in tmp_path.glob("*.prototxt")}
    kept = {one.name: one.read_text() for one in script.parent.glob("*.prototxt")}
    assert written == kept
    assert {f"{path.stem}_deploy.prototxt" for path in ZOO} | {FINETUNED.name} == kept.keys()


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2", "squeezenet_v1.1"])
def test_networks_as_onnx(name: str, tmp_path: Path) -> None:
    """Together they have every layer type of the folder; ResNet-50 takes three times as long."""
    pytest.importorskip("onnx", reason="ONNX is not installed: the extra `onnx`")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: the extra `onnx`")
    from caffe_ext.exchange.caffe_to_onnx.export import export_model  # noqa: PLC0415

    model = read(ZOO[0].parent / f"{name}.yaml", tmp_path)
    caffe.set_random_seed(1)
    net = caffe.Net(str(model.deploy), caffe.TEST)
    for layer, blobs in net.params.items():
        if net.layer_dict[layer].type == "BatchNorm":
            _, variance, factor = blobs
            variance.data[...] = factor.data[...] = 1
    net.save(str(model.weights))
    exported = export_model(model)
    assert exported.checked == 5
    assert exported.difference < 1e-5


def test_the_networks_as_onnx_have_all_layer_types() -> None:
    types = {
        path.stem: {layer.type for layer in layers_of(path).values()}
        for path in ZOO[0].parent.glob("*_deploy.prototxt")
    }
    tried = [types[f"{name}_deploy"] for name in ("googlenet", "mobilenet_v2", "squeezenet_v1.1")]
    assert set().union(*tried) == set().union(*types.values())
