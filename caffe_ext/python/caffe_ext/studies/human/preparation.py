"""Preparation: the stimuli of the human study, made with a model and labelled images.

    gradient sign:  clip(round(x + 255 epsilon sign(dL/dx)), 0, 255)
    Gaussian:       clip(round(x + 255 sigma z), 0, 255),  z standard normal

x in grey levels, L the loss of the label under the model.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.data import ImageSource
from caffe_ext.errors import RecordError
from caffe_ext.evaluation.stability import add_noise
from caffe_ext.models.base import Floats, Images, Ints, Model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter, SilentReporter, Step, pluralize
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.runtime.checkout import shorten_path, shorten_paths
from caffe_ext.storage.atomic import replace_file, write_json
from caffe_ext.storage.description import check_same
from caffe_ext.storage.provenance import collect_provenance, hash_file
from caffe_ext.studies.gradient_sign import compute_loss_signs
from caffe_ext.studies.human.design import CLASSES, FULL_SCALE, GAUSSIAN, SIGN, SUBSETS, Subset
from caffe_ext.studies.human.stimuli import (
    HARD_IMAGES,
    IMAGES,
    RECORD,
    Pixels,
    Stimuli,
    load_stimuli,
)
from caffe_ext.studies.human.store import ANSWERS, has_people

_AT_A_TIME = 1000


@dataclass(frozen=True)
class Preparation:
    """What the stimuli are made of.

    model        whose loss the gradient sign noise increases
    source       the pool of images: grey, with labels 0..9
    folder       of the study; created if necessary
    hard_digits  images of the pool's size with labels, at least one of each class; None: left out
    per_subset   images of each subset that a person sees
    seed         of the Gaussian noise, and of what each person sees
    again        replace other stimuli, if there are no answers to them yet
    """

    model: LoadableModel
    source: ImageSource
    folder: Path
    hard_digits: ImageSource | None = None
    per_subset: int = 15
    seed: int = 1
    batch_size: int = 100
    again: bool = False

    def run(self, reporter: Reporter | None = None) -> Stimuli:
        """Make the stimuli unless they are there, and return them.

        Raises ValueError for images and models that do not fit, RecordError if the folder has other
        stimuli, DataError for images that cannot be read, OSError for files that cannot be written.
        """
        reporter = reporter or SilentReporter()
        pool, labels = self._read(self.source, "the images")
        if len(pool) < self.per_subset:
            raise ValueError(
                f"there are {pluralize(len(pool), 'image')}; a person sees "
                f"{self.per_subset} of each level"
            )
        hard, hard_labels = pool[:0], labels[:0]
        if self.hard_digits is not None:
            hard, hard_labels = self._read(self.hard_digits, "the hard digits")
            missing = sorted(set(range(CLASSES)) - set(hard_labels.tolist()))
            if missing:
                raise ValueError(
                    "a person sees one hard digit of each class, but there is none of "
                    f"{', '.join(map(str, missing))}"
                )
        identity = {
            "model": self.model.identify(),
            "images": self.source.compute_digest(reporter),
            "hard_digits": self.hard_digits and self.hard_digits.compute_digest(reporter),
            "subsets": [asdict(subset) for subset in SUBSETS],
            "per_subset": self.per_subset,
            "seed": self.seed,
        }
        with claim_output(self.folder):
            if self._is_done(identity):
                reporter.note(f"{shorten_path(self.folder)} has these stimuli already")
                return load_stimuli(self.folder)
            model = self.model.load(self.batch_size)
            if model.classes != CLASSES:
                raise ValueError(f"{self.model.name} has {model.classes} classes, not {CLASSES}")
            for name in (RECORD, IMAGES, HARD_IMAGES, ANSWERS):
                (self.folder / name).unlink(missing_ok=True)
            self._write(model, (pool, labels), (hard, hard_labels), identity, reporter)
        return load_stimuli(self.folder)

    def _read(self, source: ImageSource, what: str) -> tuple[Images, Ints]:
        """Return all images, uint8 (N, 1, H, W), and their labels."""
        if source.image_shape[0] != 1:
            raise ValueError(f"{what} must be grey, not {source.image_shape}; see --grey")
        if source.image_shape != self.source.image_shape:
            raise ValueError(f"{what} must have the shape of the others, {source.image_shape}")
        parts = [
            source.read(slice(start, start + _AT_A_TIME))
            for start in range(0, len(source), _AT_A_TIME)
        ]
        labels = [part.labels for part in parts if part.labels is not None]
        if len(labels) < len(parts):
            raise ValueError(f"{what} have no labels: sort them into folders named 0 to 9")
        every = np.concatenate(labels)
        if every.max() >= CLASSES:
            raise ValueError(f"{what} must have labels 0 to 9, not {every.max()}")
        return np.concatenate([part.images for part in parts]), every

    def _is_done(self, identity: dict[str, Any]) -> bool:
        """Tell whether these stimuli are there; RecordError if others must not be replaced."""
        try:
            found = load_stimuli(self.folder).record.identity
            check_same(identity, found, f"{self.folder} has other stimuli", "see --again")
        except RecordError:
            if has_people(self.folder):
                raise RecordError(
                    f"{shorten_path(self.folder)} has answers to stimuli that are not these; "
                    "choose another --output"
                ) from None
            if (self.folder / RECORD).exists() and not self.again:
                raise
            return False
        return True

    def _write(
        self,
        model: Model,
        pool: tuple[Images, Ints],
        hard: tuple[Images, Ints],
        identity: dict[str, Any],
        reporter: Reporter,
    ) -> None:
        """Make and write the images, and at the end the record."""
        images, labels = pool
        total = len(images) * len(SUBSETS)
        distortions = []
        with (
            reporter.show_progress("stimuli", total, "image") as step,
            replace_file(self.folder / IMAGES) as file,
        ):
            header = {
                "descr": "|u1",
                "fortran_order": False,
                "shape": (len(SUBSETS), len(images), *images.shape[2:]),
            }
            np.lib.format.write_array_header_1_0(file, header)
            for changed in make_subsets(model, images, labels, self.seed, step):
                file.write(changed.tobytes())
                apart = np.abs(changed.astype(np.int16) - images[:, 0])
                distortions.append(float(apart.mean() / FULL_SCALE))
        files = [IMAGES]
        if len(hard[0]):
            with replace_file(self.folder / HARD_IMAGES) as file:
                np.save(file, hard[0][:, 0])
            files.append(HARD_IMAGES)
        record = asdict(collect_provenance()) | {
            "noise": {
                SIGN: "clip(round(x + 255 level sign(dL/dx)), 0, 255), L: loss of the label",
                GAUSSIAN: "clip(round(x + 255 level z), 0, 255), z standard normal",
            },
            "model": self.model.as_shown_record(),
            "images": shorten_paths(f"{self.source.selection}, {self.source.origin}"),
            "identity": identity,
            "per_subset": self.per_subset,
            "seed": self.seed,
            "distortions": distortions,
            "labels": labels.tolist(),
            "hard_labels": hard[1].tolist(),
            "digests": {name: hash_file(self.folder / name) for name in files},
        }
        write_json(self.folder / RECORD, record)


def make_subsets(
    model: Model, images: Images, labels: Ints, seed: int, step: Step = lambda _: None
) -> Iterator[Pixels]:
    """Yield the images in each subset of SUBSETS, uint8 (N, H, W).

    images  uint8 (N, 1, H, W)
    labels  int64 (N,)

    Raises ValueError for images and labels that do not fit the model.
    """
    signs = compute_loss_signs(model, images, labels)
    for number, subset in enumerate(SUBSETS):
        yield change_images(images, signs, subset, [seed, number])[:, 0]
        step(len(images))


def change_images(images: Images, signs: Floats, subset: Subset, seed: list[int]) -> Images:
    """Return images (N, 1, H, W) with the noise of a subset.

    signs  of the gradient of the loss, float32 (N, 1, H, W)
    seed   of the Gaussian noise
    """
    if subset.kind == SIGN:
        return add_noise(images, signs, FULL_SCALE * subset.level)
    if subset.kind == GAUSSIAN:
        normals = np.random.default_rng(seed).standard_normal(images.shape, np.float32)
        return add_noise(images, normals, FULL_SCALE * subset.level)
    return images
