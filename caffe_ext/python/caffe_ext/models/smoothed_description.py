"""SmoothedDescription: a smoothed Caffe model, as described by its YAML file.

smoothing  {sigma: 63.75, samples: 100, seed: 1}: the noise, in grey levels; samples and seed have
           these defaults. All other keys are those of the network that is smoothed. Without a
           name it is WEIGHTS_smoothed_SIGMA, so that it is not taken for that network.
"""

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from caffe_ext.models.description import ModelDescription, describe_model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.models.settings import SMOOTHING
from caffe_ext.models.smoothed import SmoothedModel, Smoothing
from caffe_ext.reporting import suggest
from caffe_ext.runtime.device import Device
from caffe_ext.storage.regular_file import AnyPath

_KEYS = ("sigma", "samples", "seed")


@dataclass(frozen=True, eq=False)
class SmoothedDescription(LoadableModel):
    """A network, the noise that smooths it, and how to load it."""

    base: ModelDescription
    smoothing: Smoothing
    name: str = field(init=False)
    pixel_space: PixelSpace = field(init=False)
    classes: tuple[str, ...] = field(init=False)
    synsets: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Take everything else from the network."""
        for key in ("name", "pixel_space", "classes", "synsets"):
            object.__setattr__(self, key, getattr(self.base, key))

    def load(self, batch_size: int = 100, device: Device | None = None) -> SmoothedModel:
        """Return the smoothed model; raises what ModelDescription.load() does."""
        return SmoothedModel(self.base.load(batch_size, device), self.smoothing)

    def with_name(self, name: str) -> Self:
        """Return the same model under another name."""
        return replace(self, base=self.base.with_name(name))

    @property
    def folder(self) -> Path:
        """Return the folder of the network's weights."""
        return self.base.folder

    @property
    def shown_file(self) -> str:
        """Return the weights and the noise, for messages."""
        return f"{self.base.shown_file}, smoothed with sigma {self.smoothing.sigma:g}"

    @property
    def cache_key(self) -> Hashable:
        """Return the network's key, and the noise."""
        return self.base.cache_key, self.smoothing

    def as_record(self) -> dict[str, Any]:
        """Return the network's description for records, and the noise."""
        return self.base.as_record() | {SMOOTHING: asdict(self.smoothing)}

    def as_shown_record(self) -> dict[str, Any]:
        """Return as_record() with shortened paths."""
        return self.base.as_shown_record() | {SMOOTHING: asdict(self.smoothing)}

    def identify(self) -> dict[str, Any]:
        """Return what results depend on: as_record() without names and places."""
        return self.base.identify() | {SMOOTHING: asdict(self.smoothing)}


def describe_smoothed(
    settings: Mapping[str, Any], path: Path, weights: AnyPath | None = None
) -> SmoothedDescription:
    """Return the description for the keys of a file with `smoothing:`.

    Raises FileNotFoundError, and ValueError that names the file and the key.
    """
    smoothing = _read_smoothing(settings[SMOOTHING], f"{path}: `{SMOOTHING}:`")
    own = {key: value for key, value in settings.items() if key != SMOOTHING}
    base = describe_model(own, weights=weights, source=path)
    if weights or not own.get("name"):
        base = base.with_name(f"{base.name}_smoothed_{smoothing.sigma:g}")
    return SmoothedDescription(base, smoothing)


def _read_smoothing(given: Any, where: str) -> Smoothing:
    if not isinstance(given, dict) or "sigma" not in given:
        raise ValueError(f"{where} must be of the form {{sigma: 63.75, samples: 100, seed: 1}}")
    for key, value in given.items():
        if key not in _KEYS:
            meant = suggest(f"{key}", _KEYS)
            raise ValueError(
                f"{where} has the unknown key {key!r}{f' ({meant})' if meant else ''}; keys: "
                f"{', '.join(_KEYS)}"
            )
        whole = key != "sigma"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError(f"{where} `{key}:` must be a {'whole ' * whole}number, not {value!r}")
    if 0 < given["sigma"] < 1:
        raise ValueError(
            f"{where} `sigma:` is in grey levels, and {given['sigma']:g} changes few pixels; "
            f"{given['sigma']:g} of pixels in 0..1 are {255 * given['sigma']:g}"
        )
    try:
        return Smoothing(**given)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from error
