"""ModelDescription: everything needed to use a Caffe model, from the settings of a YAML file."""

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256 as digest_of
from pathlib import Path
from typing import Any, Self

from caffe_ext.models.batch_dependence import check_batch_independence
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.files import read_prototxt
from caffe_ext.models.loadable import LoadableModel, Named, number_classes
from caffe_ext.models.pixels import PixelSpace
from caffe_ext.models.python_layers import hash_modules
from caffe_ext.models.settings import (
    check_keys,
    get_text,
    make_pixel_space,
    read_classes,
    read_settings,
)
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.runtime.device import Device
from caffe_ext.storage.provenance import hash_file
from caffe_ext.storage.regular_file import AnyPath

_independent: set[Hashable] = set()

# The parts of a model's record that only tell its name and where its files are.
_PLACES = ("name", "deploy", "weights")


@dataclass(frozen=True, eq=False)
class ModelDescription(LoadableModel):
    """A network, its weights, and how pixels become its input.

    name         in tables and figures
    deploy       prototxt with one input
    weights      .caffemodel or .caffemodel.h5
    pixel_space  scale, mean, channel order, crop
    logits       blob with the scores; None: the input of the last Softmax
    classes      names of the classes; empty: their numbers are used
    synsets      WordNet ids of the classes, if the file with the names has them
    """

    name: str
    deploy: Path
    weights: Path
    pixel_space: PixelSpace
    logits: str | None = None
    classes: tuple[str, ...] = ()
    synsets: tuple[str, ...] = ()

    def load(self, batch_size: int = 100, device: Device | None = None) -> Classifier:
        """Load the model on a device, by default Caffe's current one.

        Raises FileNotFoundError, ValueError and DeviceError as Classifier does, and ValueError if
        the number of class names differs from that of classes, or if an image's scores depend on
        the other images of its batch.
        """
        classifier = Classifier(
            self.deploy,
            self.weights,
            self.pixel_space,
            batch_size=batch_size,
            logits=self.logits,
            device=device,
        )
        if self.classes and len(self.classes) != classifier.classes:
            raise ValueError(
                f"`classes:` has {len(self.classes)} names, but the network {self.deploy} has "
                f"{classifier.classes} classes"
            )
        # A model is loaded for each of many tasks, and needs to be checked only once.
        key = (self.file_stamps, self.logits, min(batch_size, 4), classifier.device)
        if key not in _independent:
            check_batch_independence(classifier)
            _independent.add(key)
        return classifier

    @property
    def file_stamps(self) -> tuple[tuple[str, int, int], ...]:
        """Return path, size and time of the two files, which change when the model does."""
        files = [(path, path.stat()) for path in (self.deploy, self.weights)]
        return tuple((str(path.absolute()), it.st_size, it.st_mtime_ns) for path, it in files)

    def with_name(self, name: str) -> Self:
        """Return the same model under another name."""
        return replace(self, name=name)

    @property
    def folder(self) -> Path:
        """Return the folder of the weights."""
        return self.weights.absolute().parent

    @property
    def shown_file(self) -> str:
        """Return the weights' file, for messages."""
        return shorten_path(self.weights)

    @property
    def cache_key(self) -> Hashable:
        """Return the files with their sizes and times, and the settings."""
        settings = [
            value if not hasattr(value, "tobytes") else (value.shape, value.tobytes())
            for value in vars(self.pixel_space).values()
        ]
        return (*self.file_stamps, *settings, self.logits, self.classes)

    def as_record(self) -> dict[str, Any]:
        """Return the model's description for records, as JSON: settings and digests.

        python_modules  only of a network with Python layers
        """
        space = self.pixel_space
        mean = None if space.mean is None else space.mean.tolist()
        if space.mean is not None and space.mean.ndim == 3:
            digest = digest_of(space.mean.tobytes()).hexdigest()
            mean = f"image {space.mean.shape}, mean {float(space.mean.mean()):.6g}, {digest}"
        return {
            "name": self.name,
            "deploy": str(self.deploy),
            "deploy_sha256": hash_file(self.deploy),
            "weights": str(self.weights),
            "weights_sha256": hash_file(self.weights),
            "scale": space.scale,
            "mean": mean,
            "channel_order": space.channel_order,
            "crop": space.crop,
            "logits": self.logits,
            **({"python_modules": modules} if (modules := self._hash_modules()) else {}),
        }

    def _hash_modules(self) -> dict[str, str]:
        if b"Python" not in self.deploy.read_bytes():
            return {}
        return hash_modules([read_prototxt(self.deploy)])

    def as_shown_record(self) -> dict[str, Any]:
        """Return as_record() with shortened paths, as in files of results."""
        return self.as_record() | {
            "deploy": shorten_path(self.deploy),
            "weights": shorten_path(self.weights),
        }

    def identify(self) -> dict[str, Any]:
        """Return what results depend on, for JSON: as_record() without the name and the paths."""
        return {key: value for key, value in self.as_record().items() if key not in _PLACES}


def read_model(path: AnyPath, weights: AnyPath | None = None) -> ModelDescription:
    """Read the YAML file of a network; `weights`, if given, replace the file's.

    The model is then named after the file of the weights.
    Raises FileNotFoundError, and ValueError that names the file and the key; also for a committee
    and a smoothed network, which read_loadable() reads.
    """
    return describe_model(read_settings(path), weights=weights, source=path)


def describe_model(
    settings: Mapping[str, Any], *, weights: AnyPath | None = None, source: AnyPath | None = None
) -> ModelDescription:
    """Return the description for settings with the keys of the YAML file.

    weights  replace the settings', and give the model its name
    source   the file that the settings are from: paths are relative to it

    Raises FileNotFoundError for a missing file, ValueError for invalid settings.
    """
    where = f"{source}: " if source else ""
    check_keys(settings, where)
    folder = Path(source).parent if source else Path()
    classes, synsets = read_classes(settings.get("classes"), folder, where)
    text = {key: get_text(settings, key, where) for key in ("name", "deploy", "weights", "logits")}
    if not text["deploy"]:
        raise ValueError(f"{where}`deploy:`, the prototxt of the network, is missing")
    file = Path(weights) if weights else folder / text["weights"] if text["weights"] else None
    if file is None:
        raise ValueError(
            f"{where}`weights:` is missing; name a file there or with --weights "
            "(in Python weights=)"
        )
    description = ModelDescription(
        name=replace_undecodable(
            text["name"] if text["name"] and not weights else strip_suffixes(file)
        ),
        # Without the ".." that a path beside the file begins with; records show these paths.
        deploy=Path(os.path.normpath(folder / text["deploy"])),
        weights=Path(os.path.normpath(file)),
        pixel_space=make_pixel_space(settings, folder, where),
        logits=text["logits"],
        classes=classes,
        synsets=synsets,
    )
    # Weights that the caller names are not related to the file of the settings.
    named = "weights:" if weights else f"{where}`weights:`"
    for key, path in ((f"{where}`deploy:`", description.deploy), (named, file)):
        if not path.is_file():
            raise FileNotFoundError(f"{key} {path} is not a file")
    return description


def collect_class_numbers(models: Iterable[LoadableModel]) -> dict[str, int]:
    """Return the numbers of the classes that several models name; AMBIGUOUS where they differ."""
    every = [model.class_numbers for model in models]
    return number_classes([(number, name) for names in every for name, number in names.items()])


def make_names_distinct(descriptions: Sequence[Named]) -> list[Named]:
    """Return the models with distinct names: equal ones are prefixed with their folder's name."""
    names = [model.name for model in descriptions]
    result = [
        model.with_name(f"{model.folder.name}/{model.name}")
        if names.count(model.name) > 1
        else model
        for model in descriptions
    ]
    while len(set(names := [model.name for model in result])) < len(names):
        result = [
            model.with_name(f"{model.name} ({number})") if names.count(model.name) > 1 else model
            for number, model in enumerate(result, 1)
        ]
    return result


def replace_undecodable(name: str) -> str:
    """Return a name that can be written and drawn, with U+FFFD for what is not UTF-8."""
    return "".join("\ufffd" if "\ud800" <= sign <= "\udfff" else sign for sign in name)


def strip_suffixes(weights: Path) -> str:
    """Return the name of a file of weights without its suffixes."""
    return weights.name.removesuffix(".h5").removesuffix(".caffemodel")
