"""Caffe's files: damaged ones are refused, written ones are whole or not there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import h5py
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from caffe_nets import NET, net, python, write_files


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a net, as the working directory."""
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    return tmp_path


def changed(change: Callable[[Any], object]) -> None:
    net().save("w")
    message = caffe_pb2.NetParameter.FromString(Path("w").read_bytes())
    change(message)
    Path("w").write_bytes(message.SerializeToString())


def rename_layers(message: Any) -> None:
    for layer in message.layer:
        layer.name += "2"


def old_layers(message: Any) -> None:
    message.ClearField("layer")
    message.layers.add(name="conv").layer.type = "zzz"


DAMAGED: dict[str, tuple[Callable[[], object], str]] = {
    "a web page": (
        lambda: Path("w").write_text("<!DOCTYPE html><html>not found</html>"),
        "w is not a readable .caffemodel",
    ),
    "an end at a zero": (
        lambda: Path("w").write_bytes(bytes.fromhex("315c0f92a2e0a4af06b4") + bytes(200)),
        "w is not a readable .caffemodel",
    ),
    "empty": (lambda: Path("w").touch(), "w holds no weights: it has no layers"),
    "of other layers": (
        lambda: changed(rename_layers),
        "w: it has no weights for any layer of the net: the net has conv, fc; "
        "the file has data2, conv2, fc2, prob2",
    ),
    "gradients of another size": (
        lambda: changed(lambda m: m.layer[1].blobs[0].diff.append(1)),
        "w, layer 'conv': Check failed: count_ == proto.diff_size() (18 vs. 1) in blob.cpp:",
    ),
    "a layer twice": (
        lambda: changed(lambda m: m.layer.add(name="conv", type="ReLU")),
        "w, layer 'conv': Incompatible number of blobs for layer conv",
    ),
    "layer and layers": (
        lambda: changed(lambda m: m.layers.add(name="x")),
        "w: Refusing to upgrade inconsistent NetParameter input",
    ),
    "an unknown old layer": (lambda: changed(old_layers), "w: Unknown layer name: zzz"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_weights_raise(case: str) -> None:
    make, sentence = DAMAGED[case]
    make()
    with pytest.raises(caffe.Error) as raised:
        net(weights="w")
    assert sentence in str(raised.value)


@pytest.mark.parametrize("kind", ["damaged", "empty", "name", "other layers", "no data"])
def test_damaged_weights_of_hdf5_raise(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    net().save_hdf5("w.h5")
    sentence = ""
    with h5py.File("w.h5", "a") as file:
        convolution = file["data/conv"]
        if kind == "damaged":
            values = np.zeros((2, 1, 3, 3), np.float32)
            del convolution["0"]
            convolution.create_dataset("0", data=values, compression="gzip", chunks=(2, 1, 3, 3))
            sentence = "w.h5, layer 'conv': Failed to read float dataset 0"
            place = convolution["0"].id.get_chunk_info(0)
        elif kind == "empty":
            del convolution["0"]
            convolution["0"] = h5py.Empty("f")
            sentence = "w.h5, layer 'conv': "
        elif kind == "name":
            convolution.move("0", "00")
            sentence = "w.h5, layer 'conv': Incompatible number of blobs for layer conv"
        elif kind == "other layers":
            file["data"].move("conv", "conv2")
            file["data"].move("fc", "fc2")
            sentence = "w.h5: it has no weights for any layer of the net"
        else:
            file.move("data", "date")
            sentence = "w.h5: holds no weights: there is no group 'data'"
    if kind == "damaged":
        contents = bytearray(Path("w.h5").read_bytes())
        contents[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
        Path("w.h5").write_bytes(contents)
    with pytest.raises(caffe.Error) as raised:
        net(weights="w.h5")
    assert sentence in str(raised.value)
    assert "HDF5-DIAG" not in capfd.readouterr().err
    h5py.File("w.h5", "w").close()  # it is not open any more


@pytest.mark.parametrize("mark", ["\ufeff", ""])
def test_byte_order_mark_and_other_encodings(mark: str) -> None:
    Path("t").write_bytes(mark.encode() + b"# \xca\xe9\n" + NET.encode())
    assert caffe.Net("t", caffe.TEST).inputs == ["data"]
    Path("t").write_bytes(NET.encode("utf-16"))
    with pytest.raises(caffe.Error, match="t: is UTF-16; save it as UTF-8"):
        caffe.Net("t", caffe.TEST)


def test_an_old_net_in_a_message_that_is_not_utf8() -> None:
    with pytest.raises(caffe.Error) as raised:
        Path("t").write_bytes(b'layer { name: "\xca" type: "None" }')
        caffe.Net("t", caffe.TEST)
    assert "layer '\ufffd'" in str(raised.value)


def test_a_snapshot_is_whole_or_not_there(folder: Path) -> None:
    """On a full disk what stood there stays, and nothing half-written is left."""
    there = net()
    there.save("w")
    before = Path("w").read_bytes()
    done = python("""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
there = net()
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
for save, name in ((there.save, "w"), (there.save, "new"), (there.save_hdf5, "new.h5")):
    try:
        save(name)
    except caffe.Error as error:
        print(error)
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "cannot write w: File too large",
        "cannot write new: File too large",
        "cannot write new.h5: File too large",
    ]
    assert Path("w").read_bytes() == before
    assert not list(folder.glob("new*"))
    assert not list(folder.glob("*.partial"))


def test_a_link_and_its_mode_stay(folder: Path) -> None:
    (folder / "real").touch(mode=0o600)
    (folder / "link").symlink_to("real")
    net().save("link")
    assert (folder / "link").is_symlink()
    assert (folder / "real").stat().st_mode & 0o777 == 0o600
    net(weights="real")
    with pytest.raises(caffe.Error, match=r"cannot write /dev/full: No space left on device"):
        net().save("/dev/full")
