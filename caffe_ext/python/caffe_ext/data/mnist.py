"""MNIST: four IDX files, 60,000 training and 10,000 test images of 28x28 grey pixels."""

from pathlib import Path

import numpy as np

from caffe_ext.data import idx
from caffe_ext.data.collection import Collection, RemoteFile
from caffe_ext.data.image_set import DataSet, ImageSet
from caffe_ext.errors import DataError
from caffe_ext.reporting import Reporter

NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# MD5 of the published files, uncompressed; the output of gzip depends on the program.
PUBLISHED = (
    "6bbc9ace898e44ae57da46a324031adb",
    "a25bea736e30d166cdddb491f175f624",
    "2646ac647ad5339dbf082846283269ea",
    "27ae3e4e09519cfbb04c329615203637",
)

_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_PACKED = (
    (9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    (28881, "d53e105ee54ea40749a09fcbcd1e9432"),
    (1648877, "9fb629c4189551a2d022fa330f9573f3"),
    (4542, "ec29112dd5afa0611ce80d1b7f02629c"),
)


def read_mnist(files: tuple[Path, ...], reporter: Reporter) -> DataSet:
    """Read the four files, in the order of NAMES.

    Other images in the same format (Fashion-MNIST, your own digits) are read, too, and marked as
    not published. Raises DataError naming the file that is damaged or does not fit the others.
    """
    with reporter.show_progress("reading", len(files), "file") as step:
        read = []
        for path, reader in zip(files, (idx.read_images, idx.read_labels) * 2, strict=True):
            read.append(reader(path))
            step(1)
    differing = [
        path.name
        for path, file, digest in zip(files, read, PUBLISHED, strict=True)
        if file.md5 != digest
    ]
    sets = []
    for at in (0, 2):
        images, labels = read[at].values, read[at + 1].values
        if len(images) != len(labels):
            raise DataError(
                f"{files[at]} holds {len(images):,} images but {files[at + 1]} {len(labels):,} "
                "labels; they belong to different data sets"
            )
        sets.append(ImageSet(images[:, np.newaxis], labels.astype(np.int64), str(files[at].parent)))
    train, test = sets
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{files[0]} holds images of {train.images.shape[2:]} pixels but {files[2]} of "
            f"{test.images.shape[2:]}; they belong to different data sets"
        )
    remark = f"not the published MNIST: {', '.join(differing)}" if differing else ""
    return DataSet(train, test, published=not differing, remark=remark)


MNIST = Collection(
    name="mnist",
    title="MNIST",
    subfolders=("", "mnist", "mnist/raw", "MNIST/raw", "raw"),
    layouts=(
        tuple(
            (name, name + ".gz", name.replace("-idx", ".idx"), name.replace("-idx", ".idx") + ".gz")
            for name in NAMES
        ),
    ),
    remotes=tuple(
        RemoteFile(f"{name}.gz", size, md5, tuple(f"{mirror}{name}.gz" for mirror in _MIRRORS))
        for name, (size, md5) in zip(NAMES, _PACKED, strict=True)
    ),
    load=read_mnist,
    key_digits=8,
)
