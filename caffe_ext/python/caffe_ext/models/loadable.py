"""LoadableModel: a model by its files, which attacks, evaluations and certificates load when they
run, in other processes, too."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

from caffe_ext.data.image_labels import AMBIGUOUS
from caffe_ext.models.base import Model
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.runtime.device import Device


class LoadableModel(ABC):
    """What a model on disk is called, and how it is loaded and recorded; picklable.

    name         as tables and pictures call it
    pixel_space  its crop and its mean's size say which images the model takes
    classes      names of the classes; empty: their numbers
    synsets      WordNet ids of the classes, where the file with the names has them
    """

    name: str
    pixel_space: PixelSpace
    classes: tuple[str, ...]
    synsets: tuple[str, ...]

    @abstractmethod
    def load(self, batch_size: int = 100, device: Device | None = None) -> Model:
        """Return the model, ready for images, on a device, by default the one that Caffe is on."""

    @abstractmethod
    def with_name(self, name: str) -> Self:
        """Return the same model under another name."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Return the folder that tells the model from others of its name."""

    @property
    @abstractmethod
    def shown_file(self) -> str:
        """Return the file that makes the model what it is, for messages."""

    @property
    @abstractmethod
    def cache_key(self) -> Hashable:
        """Return what stays the same while load() would return the same model."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Return what a record of results says of the model: settings and digests, for JSON."""

    @abstractmethod
    def shown_record(self) -> dict[str, Any]:
        """Return record() with the paths from the checkout on, as files of results have them."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what results depend on, for JSON: record() without name and places."""

    def class_name(self, number: int) -> str:
        """Return the name of a class, its number if it has none."""
        return self.classes[number] if 0 <= number < len(self.classes) else str(number)

    @property
    def class_numbers(self) -> dict[str, int]:
        """Return the number of each class by its name and by its WordNet id, for labels."""
        return number_classes([*enumerate(self.classes), *enumerate(self.synsets)])


def number_classes(pairs: Iterable[tuple[int, str]]) -> dict[str, int]:
    """Return numbers by names; AMBIGUOUS for a name with several."""
    numbers: dict[str, int] = {}
    for number, name in pairs:
        if numbers.setdefault(name, number) != number:
            numbers[name] = AMBIGUOUS
    return numbers


Named = TypeVar("Named", bound=LoadableModel)
