"""LoadableModel: a model given by its files, which is loaded when it is needed, also in other
processes."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, Self, TypeVar

from caffe_ext.data.image_labels import AMBIGUOUS
from caffe_ext.models.base import Model
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.runtime.device import Device


class LoadableModel(ABC):
    """A model on disk: its name, and how it is loaded and recorded; picklable.

    name         in tables and figures
    pixel_space  its crop and its mean's size determine which images the model takes
    classes      names of the classes; empty: their numbers are used
    synsets      WordNet ids of the classes, if the file with the names has them
    """

    name: str
    pixel_space: PixelSpace
    classes: tuple[str, ...]
    synsets: tuple[str, ...]

    @abstractmethod
    def load(self, batch_size: int = 100, device: Device | None = None) -> Model:
        """Load the model on a device, by default Caffe's current one."""

    @abstractmethod
    def with_name(self, name: str) -> Self:
        """Return the same model under another name."""

    @property
    @abstractmethod
    def folder(self) -> Path:
        """Return the folder that distinguishes the model from others with its name."""

    @property
    @abstractmethod
    def shown_file(self) -> str:
        """Return the file that identifies the model, for messages."""

    @property
    @abstractmethod
    def cache_key(self) -> Hashable:
        """Return a key that changes if load() would return another model."""

    @abstractmethod
    def as_record(self) -> dict[str, Any]:
        """Return the model's description for records, as JSON: settings and digests."""

    @abstractmethod
    def as_shown_record(self) -> dict[str, Any]:
        """Return as_record() with shortened paths, as in files of results."""

    @abstractmethod
    def identify(self) -> dict[str, Any]:
        """Return what results depend on, for JSON: as_record() without the name and the paths."""

    def name_class(self, number: int) -> str:
        """Return the name of a class, or its number if it has none."""
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
