"""The images of staged adversarial training, Eq. 3 of the paper, and the nets that read them.

    x' = clip(x + R) + c dL/dx(clip(x + R)),   R = e sign(dL/dx(x)),   pixels in [0, 1]

L is the loss of the label under the network before the stage. The images are clipped and rounded to
grey levels, and stored in random order. The paper trains on all sets joined; here each batch has
equal shares of all.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.data import ImageSet, read_database, write_database
from caffe_ext.data.database import count_records
from caffe_ext.data.mnist import MNIST
from caffe_ext.errors import RecordError
from caffe_ext.metrics.distances import FULL_SCALE
from caffe_ext.models.base import Floats, Images, Ints, Model, softmax
from caffe_ext.models.pixels import allow_dark_pixels
from caffe_ext.reporting import Reporter, Step
from caffe_ext.storage.atomic import encode_json, write_text
from caffe_ext.storage.description import list_differences
from caffe_ext.storage.json_file import Object, read_json
from caffe_ext.storage.staging import explain_full_disk, lock_for_making, stage_content
from caffe_ext.studies.distortion.models import EPSILON, GRADIENT_SCALE
from caffe_ext.studies.gradient_sign import compute_loss_signs

RECORD, DATABASE = "set.json", "train_lmdb"
_AT_A_TIME = 1000


def make_stage_set(
    folder: Path,
    load: Callable[[], Model],
    images: Path,
    depends: Mapping[str, Any],
    reporter: Reporter,
) -> None:
    """Write the images of a stage, unless the folder has them.

    load     returns the network before the stage
    images   the LMDB with the clean images
    depends  what they depend on: as JSON, with "order", the seed of their order

    Raises DataError if they cannot be read or written.
    """
    about = {**depends, "epsilon": EPSILON, "gradient_scale": GRADIENT_SCALE}
    with explain_full_disk(folder), lock_for_making(folder):
        if _is_there(folder, about):
            return
        clean = read_database(images)
        with reporter.show_progress(f"images of {folder.name}", len(clean), "image") as step:
            made = make_stage_images(load(), clean.images, clean.labels, step)
        order = np.random.default_rng(about["order"]).permutation(len(clean))
        with stage_content(folder, (DATABASE,), RECORD, encode_json({})) as making:
            mixed = ImageSet(made[order], clean.labels[order], folder.name)
            write_database(making / DATABASE, mixed, MNIST.key_digits, reporter)
            (making / RECORD).write_bytes(encode_json(about | {"images_written": len(clean)}))


def _is_there(folder: Path, about: Mapping[str, Any]) -> bool:
    try:
        found = read_json(folder / RECORD, Object, "")
    except (FileNotFoundError, RecordError):
        return False
    count = found.pop("images_written", None)
    same = not list_differences(about, found)
    return same and count is not None and count_records(folder / DATABASE) == count


@allow_dark_pixels()
def make_stage_images(
    model: Model, images: Images, labels: Ints, step: Step = lambda _: None
) -> Images:
    """Return x' for each image x, uint8 (N, C, H, W).

    step  is told how many images are done
    """
    labels = model.check_labels(labels, len(images))
    made = np.empty_like(images)
    for start in range(0, len(images), _AT_A_TIME):
        rows = slice(start, start + _AT_A_TIME)
        signs = compute_loss_signs(model, images[rows], labels[rows])
        noisy = _clip(images[rows] + np.float32(EPSILON * FULL_SCALE) * signs)
        gradients = FULL_SCALE * _compute_loss_gradients(model, noisy, labels[rows])
        moved = noisy + np.float32(GRADIENT_SCALE * FULL_SCALE) * gradients
        made[rows] = np.rint(_clip(moved)).astype(np.uint8)
        step(len(signs))
    return made


def _clip(pixels: Floats) -> Floats:
    return np.asarray(np.clip(pixels, 0, FULL_SCALE), np.float32)


def _compute_loss_gradients(model: Model, pixels: Floats, labels: Ints) -> Floats:
    """Return dL/dx per grey level, of each image's own loss."""

    def compute_diff(logits: Floats, rows: slice) -> Floats:
        diff = softmax(logits)
        diff[np.arange(len(diff)), labels[rows]] -= 1
        return diff

    return model.gradient(pixels, compute_diff)


def write_joined_network(template: Path, path: Path, databases: Sequence[str]) -> None:
    """Write a training net whose batches have equal shares of several databases.

    template   has one Data layer for training; its batch is split
    databases  besides the template's: as paths for Caffe
    """
    network = text_format.Parse(template.read_text(encoding="utf-8"), caffe_pb2.NetParameter())
    data = next(layer for layer in network.layer if layer.type == "Data")
    batch, (pixels, labels) = data.data_param.batch_size, data.top
    sources = [data.data_param.source, *databases]
    joined = caffe_pb2.NetParameter(name=network.name)
    for number, source in enumerate(sources):
        layer = joined.layer.add()
        layer.CopyFrom(data)
        layer.name = f"{data.name}_{number}"
        layer.top[:] = [f"{pixels}_{number}", f"{labels}_{number}"]
        layer.data_param.source = source
        layer.data_param.batch_size = (batch + number) // len(sources)
    for top in (pixels, labels):
        layer = joined.layer.add(name=top, type="Concat", top=[top])
        layer.bottom.extend(f"{top}_{number}" for number in range(len(sources)))
        layer.include.add(phase=caffe_pb2.TRAIN)
        layer.concat_param.axis = 0
    joined.layer.extend(layer for layer in network.layer if layer != data)
    write_text(path, text_format.MessageToString(joined))
