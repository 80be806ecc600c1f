"""Data bases and lists of images that Caffe cannot read: a sentence, in Python and in programs."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import caffe
import lmdb
import numpy as np
import pytest
from PIL import Image

from caffe_nets import error_of, net, program, python

DATA = """
layer {{ name: "d" type: "Data" top: "x" top: "y"
         data_param {{ source: "base" batch_size: 2 {backend} }} }}
"""
LIST = """
layer { name: "images" type: "ImageData" top: "x" top: "y" image_data_param {
  source: "list" batch_size: 2 } }
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with five images, a list of them, and an LMDB of them."""
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        pixels = np.full((40, 40, 3), number, np.uint8)
        Image.fromarray(pixels).save(f"{number}.png")
    Path("list").write_text("".join(f"{number}.png {number}\n" for number in range(5)))
    assert program("convert_imageset", "", "list", "base").returncode == 0
    return tmp_path


def refusal(backend: str = "backend: LMDB") -> str:
    with pytest.raises(caffe.Error) as raised:
        net(DATA.format(backend=backend))
    return str(raised.value)


def write_records(*records: bytes) -> None:
    shutil.rmtree("base")
    with lmdb.open("base", map_size=1 << 20) as base, base.begin(write=True) as transaction:
        for number, record in enumerate(records):
            transaction.put(f"{number:08}".encode(), record)


def datum(**changed: object) -> bytes:
    fields = {"channels": 1, "height": 2, "width": 2, "data": bytes(4), "label": 1}
    message = caffe.proto.caffe_pb2.Datum(**(fields | changed))
    return bytes(message.SerializeToString())


def test_of_the_other_kind() -> None:
    before = sorted(Path("base").iterdir())
    assert "layer 'd': base is an LMDB: set `backend: LMDB` in data_param" in refusal("")
    assert sorted(Path("base").iterdir()) == before, "nothing is written into it"
    assert "base is an LMDB" in error_of("compute_image_mean", "-backend=leveldb", "base")
    shutil.rmtree("base")
    assert program("convert_imageset", "-backend=leveldb", "", "list", "base").returncode == 0
    assert "base is a LevelDB: set `backend: LEVELDB`" in refusal()
    there = net(DATA.format(backend=""))
    assert there.forward()["y"].tolist() == [0, 1]


def test_missing() -> None:
    shutil.rmtree("base")
    assert "LevelDB base does not exist" in refusal("")
    assert not Path("base").exists()
    assert "cannot open LMDB base: No such file or directory" in refusal()


def test_a_pipe_is_not_waited_for() -> None:
    Path("base/data.mdb").unlink()
    os.mkfifo("base/data.mdb")
    assert "cannot read base/data.mdb: it is not a file" in refusal()


def test_cut_off() -> None:
    size = Path("base/data.mdb").stat().st_size
    os.truncate("base/data.mdb", size // 2)
    assert f"layer 'd': base/data.mdb is incomplete: it has {size // 2} bytes of" in refusal()


def run_through(records: int) -> None:
    there = net(DATA.format(backend="backend: LMDB"))
    for _ in range(records):
        there.forward()


def test_a_page_that_is_not_there() -> None:
    write_records(*[datum()] * 300)
    path, size = Path("base/data.mdb"), 4096
    content = bytearray(path.read_bytes())
    pages = [content[at : at + size] for at in range(0, len(content), size)]
    (root,) = (n for n, page in enumerate(pages) if n > 1 and page[10] & 1)  # P_BRANCH
    node = root * size + int.from_bytes(pages[root][18:20], "little")  # of the second child
    content[node : node + 4] = b"\xff\xff\xff\x7f"  # its page's number
    path.write_bytes(content)
    with pytest.raises(caffe.Error, match=r"layer 'd': base is damaged: MDB_PAGE_NOTFOUND: "):
        run_through(300)


def lead_out_of_the_file(*, length: bool) -> None:
    """Damage the third record: where it lies, or how long it is."""
    write_records(*[datum()] * 5)
    path, size = Path("base/data.mdb"), 4096
    content = bytearray(path.read_bytes())
    (leaf,) = (
        at
        for at in range(2 * size, len(content), size)
        if content[at + 10] & 2 and content[at + 12]
    )
    place = leaf + 16 + 2 * 2  # of the node's, in the page's list
    if length:
        node = leaf + int.from_bytes(content[place : place + 2], "little")
        content[node + 2 : node + 4] = b"\xff\x00"  # 16 MiB
    else:
        content[place : place + 2] = b"\xf0\xff"
    path.write_bytes(content)


@pytest.mark.parametrize("length", [False, True])
def test_pages_that_lead_out_of_the_file(*, length: bool) -> None:
    lead_out_of_the_file(length=length)
    with pytest.raises(caffe.Error, match=r"base is damaged: its pages lead out of the file"):
        run_through(3)
    says = error_of("compute_image_mean", "base")
    assert says == "base is damaged: its pages lead out of the file"


@pytest.mark.parametrize(
    "fault", ["os.kill(os.getpid(), 11)", "import ctypes; ctypes.string_at(0)"]
)
def test_other_faults_are_those_of_the_process(fault: str) -> None:
    """What Caffe catches while it reads pages, it does not catch elsewhere."""
    read = DATA.format(backend="backend: LMDB")
    done = python(f"net({read!r}).forward(); print('read'); sys.stdout.flush(); {fault}")
    assert "read" in done.stdout
    assert done.returncode == -signal.SIGSEGV


def test_without_records() -> None:
    write_records()
    assert "layer 'd': base has no records" in refusal()
    assert error_of("compute_image_mean", "base") == "base has no records"


def test_records_that_are_none() -> None:
    write_records(b"\xff\xff")
    assert "record '00000000' of base is not a Datum" in refusal()
    assert "record '00000000' of base is not a Datum" in error_of("compute_image_mean", "base")


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (b"\xff\xff", "layer 'd': record '00000001' of base is not a Datum"),
        (datum(data=bytes(3)), "a Datum of 1x2x2 has the wrong number of values"),
        (datum(height=-2, width=-2), "layer 'd': "),
        (datum(data=b"no image", encoded=True), "layer 'd': an image cannot be decoded"),
    ],
)
def test_a_damaged_record_is_an_error_in_its_turn(second: bytes, sentence: str) -> None:
    """Which happens in the thread that reads ahead; what it has read before still comes."""
    write_records(datum(), second)
    there = net(DATA.format(backend="backend: LMDB").replace("batch_size: 2", "batch_size: 1"))
    there.forward()
    for _ in range(3):
        with pytest.raises(caffe.Error) as raised:
            there.forward()
        assert sentence in str(raised.value)


def test_an_image_that_is_missing_is_an_error_in_its_turn() -> None:
    Path("3.png").unlink()
    there = net(LIST)
    there.forward()
    for _ in range(3):
        with pytest.raises(caffe.Error, match=r"layer 'images': Could not load 3\.png"):
            there.forward()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_of_another_user_and_without_a_lock_file(folder: Path) -> None:
    Path("base/lock.mdb").unlink()
    Path("base/data.mdb").chmod(0o444)
    Path("base").chmod(0o555)
    there = folder
    while there != Path("/"):
        there.chmod(there.stat().st_mode | 0o055)
        there = there.parent
    compute = Path(caffe.__file__).parents[2] / "bin" / "compute_image_mean"
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", compute, "base"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GLOG_minloglevel": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert "mean_value channel [0]: 2" in done.stderr
    assert "base cannot be locked" in done.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "cannot open the list of images list: No such file or directory"),
        ("\n", "the list of images list is empty"),
        ("0.png 0\n\n1.png one\n", "list:3: 'one' is not a label; a line is NAME LABEL"),
        ("0.png 99999999999\n", "list:1: '99999999999' is not a label"),
    ],
)
def test_lists_of_images(text: str | None, sentence: str) -> None:
    Path("list").unlink()
    if text is not None:
        Path("list").write_text(text)
    with pytest.raises(caffe.Error) as raised:
        net(LIST)
    assert f"layer 'images': {sentence}" in str(raised.value)
    assert sentence in error_of("convert_imageset", "", "list", "new")
    assert not Path("new").exists()


def test_a_list_of_which_nothing_can_be_read_makes_no_base() -> None:
    done = program("convert_imageset", "nowhere/", "list", "new")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "none of the 5 images of list can be read; the first is nowhere/0.png" in last
    assert not Path("new").exists()
    with Path("list").open("a") as file:
        file.write("5.png 5\r\n")
    done = program("convert_imageset", "", "list", "new")
    assert done.returncode == 0
    assert "1 of 6 images cannot be read" in done.stderr
    says = error_of("convert_imageset", "", "list", "new")
    assert says == "cannot create the folder new: File exists"
