"""A published data set: the names of its raw files, where they are, and how they are read."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from caffe_ext.data.image_set import DataSet
from caffe_ext.reporting import Reporter


@dataclass(frozen=True)
class RemoteFile:
    """A file in the data set's public homes; `urls` are mirrors of the same bytes."""

    name: str
    size: int
    md5: str
    urls: tuple[str, ...]


@dataclass(frozen=True)
class Collection:
    """A data set in its raw files.

    name        for the user, also the name of its folder
    title       for use in a sentence
    subfolders  of a data folder in which its files may be; "" is the folder itself
    layouts     each one way to store the whole set: a tuple of parts, each with its possible names
    remotes     the files to download; together one of the layouts
    load        reads the files of a layout, given in the order of its parts
    key_digits  number of digits of the keys in its databases, as in Caffe's own converters
    writes_mean whether its networks subtract a mean image
    """

    name: str
    title: str
    subfolders: tuple[str, ...]
    layouts: tuple[tuple[tuple[str, ...], ...], ...]
    remotes: tuple[RemoteFile, ...]
    load: Callable[[tuple[Path, ...], Reporter], DataSet]
    key_digits: int
    writes_mean: bool = False

    def find(self, folder: Path) -> tuple[Path, ...] | None:
        """Return the files of the first layout that is complete in the folder, or None."""
        for _, files in self._list_places(folder):
            complete = tuple(path for path in files.values() if path is not None)
            if len(complete) == len(files):
                return complete
        return None

    def describe_missing(self, folder: Path) -> str:
        """Describe, for an error message, what is missing in a folder without a complete layout."""

        def count_held(place: tuple[Path, Mapping[str, Path | None]]) -> int:
            return sum(path is not None for path in place[1].values())

        place, files = max(self._list_places(folder), key=count_held)
        if count_held((place, files)) == 0:
            wanted = " or ".join(
                ", ".join(" / ".join(names) for names in parts) for parts in self.layouts
            )
            return f"{folder} holds no {self.title}: it needs {wanted}"
        missing = ", ".join(name for name, path in files.items() if path is None)
        return f"{place} holds only a part of {self.title}: {missing} is missing"

    def _list_places(self, folder: Path) -> Iterator[tuple[Path, dict[str, Path | None]]]:
        """Yield every layout in every subfolder: each part's first name, and its file if any."""
        for parts in self.layouts:
            for subfolder in self.subfolders:
                place = folder / subfolder
                yield (
                    place,
                    {
                        names[0]: next((place / n for n in names if (place / n).is_file()), None)
                        for names in parts
                    },
                )
