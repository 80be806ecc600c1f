"""Images for evaluation and attacks, by the name of their data set."""

from collections.abc import Sequence
from pathlib import Path

from caffe_ext.data.database import read_database
from caffe_ext.data.digits import make_digits
from caffe_ext.data.image_set import ImageSet
from caffe_ext.data.preparation import COLLECTIONS, read_intact_record
from caffe_ext.data.sources import find_local_source
from caffe_ext.errors import DataError
from caffe_ext.reporting import SilentReporter, list_names, suggest
from caffe_ext.runtime.checkout import DATA, shorten_path
from caffe_ext.storage.regular_file import AnyPath


def load_images(
    name: str,
    split: str = "test",
    *,
    data_dir: AnyPath | None = None,
    homes: Sequence[AnyPath] = (DATA,),
    validation: int = 0,
) -> ImageSet:
    """Return the images of a data set: uint8 (N, C, H, W), labels int64 (N,).

    name        mnist, cifar10 or digits
    split       train, val or test
    data_dir    the folder with the raw files; default: CAFFE_EXT_DATA, then `homes`; see sources.py
    homes       folders with raw files, or with databases of `caffe-ext get-data`, which are read if
                the raw files are the same (faster) or gone; nothing is downloaded. Default: the
                folder that `caffe-ext get-data` writes to
    validation  how many of the last training images are "val" instead of "train"

    Raises DataError if the images are not on this machine, are damaged, or for an unknown name.
    """
    if split not in ("train", "val", "test") or (split == "val" and not validation):
        splits = ("train", "val", "test") if validation else ("train", "test")
        meant = suggest(split, splits)
        raise DataError(
            f"unknown split {split!r}: {' or '.join(splits)}{f'; {meant}' if meant else ''}"
            f"{'; val needs validation above 0' if split == 'val' else ''}"
        )
    if name == "digits":
        return make_digits().keep_apart(validation)[split]
    if name not in COLLECTIONS:
        raise DataError(
            f"unknown data set {name!r}; the data sets are {', '.join(COLLECTIONS)} and digits"
        )
    folders = [Path(home) for home in homes]
    raw = None if data_dir is None else Path(data_dir)
    source = find_local_source(COLLECTIONS[name], raw, folders, SilentReporter())
    for home in folders:
        record = read_intact_record(home / name)
        if (
            record is not None
            and (source is None or source.fingerprint == record.fingerprint)
            and (split == "test" or record.validation == validation)
        ):
            images = read_database(home / name / f"{split}_lmdb")
            return ImageSet(images.images, images.labels, f"{record.content}, {images.origin}")
    if source is None:
        places = list_names(shorten_path(home) for home in folders)
        searched = f" (searched: {places}; in Python homes= names other folders)" if places else ""
        raise DataError(
            f"{COLLECTIONS[name].title} is not on this machine; run `caffe-ext get-data {name}` "
            f"first{searched}"
        )
    return source.load(SilentReporter()).keep_apart(validation)[split]
