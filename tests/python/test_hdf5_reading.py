"""storage/hdf5_file.open_hdf5: only what lies in the file itself is read."""

import os
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffe_ext.data.image_arrays import Reading, open_hdf5_images
from caffe_ext.errors import DataError, RecordError
from caffe_ext.storage.hdf5_file import open_hdf5

SECRET = bytes(range(200))


def external_storage(file: h5py.File, secret: Path) -> None:
    file.create_dataset("a/b", (200,), np.uint8, external=[(str(secret), 0, 200)])


def external_link(file: h5py.File, secret: Path) -> None:
    file.create_group("a")["b"] = h5py.ExternalLink(str(secret.with_suffix(".h5")), "/x")


def virtual(file: h5py.File, secret: Path) -> None:
    layout = h5py.VirtualLayout((200,), np.uint8)
    layout[:] = h5py.VirtualSource(str(secret.with_suffix(".h5")), "x", shape=(200,))
    file.create_virtual_dataset("a/b", layout)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (external_storage, "the values of 'a/b' are stored in another file"),
        (external_link, "'a/b' is a link to another file"),
        (virtual, "'a/b' is a virtual dataset"),
    ],
)
def test_what_lies_elsewhere_is_refused(
    tmp_path: Path, make: Callable[[h5py.File, Path], None], says: str
) -> None:
    secret, path = tmp_path / "secret", tmp_path / "x.h5"
    secret.write_bytes(SECRET)
    with h5py.File(secret.with_suffix(".h5"), "w") as file:
        file["x"] = np.frombuffer(SECRET, np.uint8)
    with h5py.File(path, "w") as file:
        make(file, secret)
    with h5py.File(path) as file:
        assert file["a/b"][()].tobytes() == SECRET  # so that there is something to refuse
    with pytest.raises(RecordError) as refused, open_hdf5(path, RecordError):
        pass
    assert f"{refused.value}".startswith(f"{path} is damaged")
    assert says in f"{refused.value}"


def test_what_is_in_the_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = np.arange(5)
        file["soft"] = h5py.SoftLink("/a/b")
        file["a/round"] = file["a"]  # a hard link to the group that it lies in
        file["loop"] = h5py.SoftLink("/loop")
        file["kind"] = np.dtype("f4")
    with open_hdf5(path, RecordError) as file:
        assert file["soft"][()].tolist() == file["a/round/round/b"][()].tolist() == [*range(5)]
    with pytest.raises(RecordError, match="too many links"), open_hdf5(path, RecordError) as file:
        file["loop"]
    # What was in order before it was exchanged is looked at again.
    with h5py.File(path, "w") as file:
        external_storage(file, tmp_path / "secret")
    with pytest.raises(RecordError, match="another file"), open_hdf5(path, RecordError):
        pass


def test_damage_is_told_apart_from_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(FileNotFoundError) as missing, open_hdf5(path, RecordError):
        pass
    assert missing.value.filename == str(path)
    os.mkfifo(path)
    for kind in (RecordError, DataError):
        with pytest.raises(kind, match=f"{path} is not a file"), open_hdf5(path, kind):
            pass
    path.unlink()
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 100)
    with pytest.raises(RecordError, match=f"^{path} is damaged"), open_hdf5(path, RecordError):
        pass
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(5)
    for wrong in (KeyError("x"), ValueError("x"), TypeError("x"), MemoryError()):
        with pytest.raises(RecordError, match="is damaged"), open_hdf5(path, RecordError):
            raise wrong
    full = OSError(28, "No space left on device", "other")
    with pytest.raises(OSError, match="No space") as caught, open_hdf5(path, RecordError):
        raise full
    assert caught.value is full


def test_images_and_labels_are_those_of_the_file(tmp_path: Path) -> None:
    secret, path = tmp_path / "secret", tmp_path / "x.h5"
    secret.write_bytes(SECRET)
    for name in ("data", "label", "other"):
        with h5py.File(path, "w") as file:
            for other in {"data", "label"} - {name}:
                file[other] = np.zeros((3, 1, 4, 4) if other == "data" else 3, np.uint8)
            shape = (3, 1, 4, 4) if name == "data" else (3,)
            file.create_dataset(name, shape, np.uint8, external=[(str(secret), 0, 200)])
        with pytest.raises(DataError, match=f"the values of '{name}' are stored in another file"):
            open_hdf5_images(path, Reading())


@pytest.mark.parametrize("shape", [(10**12,), (3, 10**11), None])
def test_labels_that_nobody_has_written_are_not_read(
    tmp_path: Path, shape: tuple[int, ...] | None
) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((3, 1, 4, 4), np.uint8)
        if shape is None:
            file["label"] = h5py.Empty("i4")
        else:
            file.create_dataset("label", shape, "i8", chunks=True)
    with pytest.raises(DataError, match=f"{path} holds labels .* for 3 images"):
        open_hdf5_images(path, Reading())


def test_images_without_values_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["data"] = h5py.Empty("u1")
    with pytest.raises(DataError, match="images are uint8"):
        open_hdf5_images(path, Reading())
