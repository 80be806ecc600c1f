"""Study: what every certification method is given, and what its record says."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from caffe_ext.attacks.budget import check_largest_change
from caffe_ext.attacks.budget_texts import insert_radius
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.data import ImageSource
from caffe_ext.models.base import Images, Ints
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter
from caffe_ext.runs.compatibility import check_model
from caffe_ext.runs.output_folder import check_writable
from caffe_ext.runtime.checkout import shorten_paths
from caffe_ext.storage.provenance import collect_provenance

_SOME_RADIUS = 8.0


@dataclass(frozen=True)
class Study:
    """What is certified, how, and where the results go.

    models       with distinct names
    source       the images, with labels
    folder       for the results; created if it does not exist
    settings     of the method
    limit        only the first images, or a sample of a folder's; None: all
    sample_seed  chooses another sample
    batch_size   images in a network at a time
    again        discard what is in the folder
    """

    models: Sequence[LoadableModel]
    source: ImageSource
    folder: Path
    settings: Any
    limit: int | None = None
    sample_seed: int = 0
    batch_size: int = 100
    again: bool = False

    def __post_init__(self) -> None:
        """Accept a folder given as a string, too."""
        object.__setattr__(self, "folder", Path(self.folder))

    def open_images(self, reporter: Reporter) -> ImageSource:
        """Return the images that are certified, and say which they are.

        Before any work, OSError for a folder that cannot be written, and ValueError, naming model,
        image and option, for images and labels that do not fit a model.
        """
        check_writable(self.folder)
        source = self.source.sample(self.limit, self.sample_seed)
        reporter.note(f"images: {source.selection}, {shorten_paths(source.origin)}")
        for model in self.models:
            check_model(model, (), source, self.batch_size)
        return source

    def make_record(
        self, source: ImageSource, digest: str, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what the results depend on, for JSON.

        source    the images that were used
        digest    of these images
        settings  what the method records besides its own settings
        """
        return asdict(collect_provenance()) | {
            "settings": asdict(self.settings) | dict(settings),
            "images": {"digest": digest, "origin": shorten_paths(source.origin)},
            "models": [model.as_shown_record() for model in self.models],
        }


def read_labelled(source: ImageSource, verb: str) -> tuple[Images, Ints]:
    """Return all images of a source and their labels; ValueError if there are none.

    verb  what is done with those that are correctly classified
    """
    batch = source.read(slice(0, len(source)))
    if batch.labels is None or not len(source):
        raise ValueError(
            f"images with labels are needed, since only correctly classified images are {verb}"
        )
    return batch.images, batch.labels


def check_radii(radii: Sequence[float]) -> tuple[float, ...]:
    """Return Linf radii, each once; ValueError for none and for those that are not 0..255."""
    if not radii:
        raise ValueError("there must be a radius")
    for radius in radii:
        if not (isfinite(radius) and radius >= 0):
            raise ValueError(f"a radius must be 0 or more grey levels, not {radius}")
        check_largest_change(radius)
    return tuple(dict.fromkeys(radii))


def check_attack(text: str) -> None:
    """Raise ValueError for the text of an attack that is unknown, or lacks the radius, E."""
    inserted = insert_radius(text, _SOME_RADIUS)
    parse_attack(inserted)
    if inserted == text:
        raise ValueError(f"the attack {text} must have the radius as E, such as pgd=E+margin")
