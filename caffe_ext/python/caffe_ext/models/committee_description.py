"""CommitteeDescription: a committee of Caffe models, as described by its YAML file.

name     in tables and figures; default: the name of the file
members  two or more: the names of YAML files of models, or the keys of such a file themselves
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from caffe_ext.models.committee import Committee
from caffe_ext.models.description import (
    ModelDescription,
    describe_model,
    read_model,
    replace_undecodable,
)
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.models.settings import MEMBERS, get_text
from caffe_ext.reporting import format_os_error
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.runtime.device import Device

_KEYS = ("name", MEMBERS)
_FEWEST, _MOST = 2, 100


@dataclass(frozen=True, eq=False)
class CommitteeDescription(LoadableModel):
    """A committee of networks, and how to load it.

    name     in tables and figures
    file     its YAML file
    members  the networks; the names of the classes are those of the first member with names
    """

    name: str
    file: Path
    members: tuple[ModelDescription, ...]
    pixel_space: PixelSpace = field(init=False)
    classes: tuple[str, ...] = field(init=False)
    synsets: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Take the common settings from the members; ValueError if names of classes differ."""
        named = [one for one in self.members if one.classes]
        for one in named[1:]:
            if one.classes != named[0].classes:
                raise ValueError(
                    f"{self.file}: the members '{named[0].name}' and '{one.name}' have "
                    "different names of classes in `classes:`"
                )
        first = (named or self.members)[0]
        # A mean image fixes the images' size, for all members.
        sized = next((one for one in self.members if one.pixel_space.mean_size), self.members[0])
        for key, value in (
            ("pixel_space", sized.pixel_space),
            ("classes", first.classes),
            ("synsets", first.synsets),
        ):
            object.__setattr__(self, key, value)

    def load(self, batch_size: int = 100, device: Device | None = None) -> Committee:
        """Return the committee, with each member loaded by ModelDescription.load().

        Raises what that raises, and ValueError for members that take different images or have
        different numbers of classes.
        """
        members = [one.load(batch_size, device) for one in self.members]
        try:
            return Committee(members)
        except ValueError as error:
            raise ValueError(f"{self.file}: {error}") from error

    def with_name(self, name: str) -> Self:
        """Return the same committee under another name."""
        return replace(self, name=name)

    @property
    def folder(self) -> Path:
        """Return the folder of the YAML file."""
        return self.file.absolute().parent

    @property
    def shown_file(self) -> str:
        """Return the YAML file and how many members there are, for messages."""
        return f"{shorten_path(self.file)}, {len(self.members)} members"

    @property
    def cache_key(self) -> Hashable:
        """Return the keys of the members."""
        return tuple(one.cache_key for one in self.members)

    def as_record(self) -> dict[str, Any]:
        """Return the description for records: how predictions are combined, and each member's."""
        return self._make_record([one.as_record() for one in self.members])

    def as_shown_record(self) -> dict[str, Any]:
        """Return as_record() with shortened paths."""
        return self._make_record([one.as_shown_record() for one in self.members])

    def identify(self) -> dict[str, Any]:
        """Return what results depend on: as_record() without names and places."""
        return {"average": "probabilities", MEMBERS: [one.identify() for one in self.members]}

    def _make_record(self, members: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"name": self.name, "average": "probabilities", MEMBERS: list(members)}


def describe_committee(settings: Mapping[str, Any], path: Path) -> CommitteeDescription:
    """Return the description for the keys of a committee's file.

    Raises FileNotFoundError, and ValueError that names the file and the key.
    """
    unknown = [key for key in settings if key not in _KEYS]
    if unknown:
        raise ValueError(
            f"{path}: unknown key {unknown[0]!r} beside `{MEMBERS}:`; a committee has the keys "
            f"{', '.join(_KEYS)}, and its members have those of a network"
        )
    name = replace_undecodable(get_text(settings, "name", f"{path}: ") or path.stem)
    given = settings[MEMBERS]
    if not isinstance(given, list) or len(given) < _FEWEST:
        raise ValueError(
            f"{path}: `{MEMBERS}:` must be a list of two or more models: YAML files, or their keys"
        )
    if len(given) > _MOST:
        raise ValueError(f"{path}: `{MEMBERS}:` must be at most {_MOST} models, not {len(given):,}")
    members = tuple(_read_member(one, number, path) for number, one in enumerate(given, 1))
    return CommitteeDescription(name, path, members)


def _read_member(given: Any, number: int, path: Path) -> ModelDescription:
    """Return a member, given by the name of its file or by its keys."""
    where = f"{path}: member {number}: "
    try:
        if isinstance(given, str):
            return read_model(path.parent / given)
        if isinstance(given, dict):
            return describe_model(given, source=path)
    except OSError as error:
        raise type(error)(f"{where}{format_os_error(error)}") from error
    except ValueError as error:
        raise ValueError(f"{where}{error}".replace(f"{where}{path}: ", where)) from error
    raise ValueError(f"{where}must be the name of a YAML file, or the keys of one, not {given!r}")
