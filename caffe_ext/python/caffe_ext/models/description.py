"""ModelDescription: all that is needed to use a Caffe model, and its form as a small YAML file.

# lenet.yaml: paths are relative to this file
name: LeNet                       # in tables and pictures; default: the name of the weights' file
deploy: lenet_deploy.prototxt
weights: lenet.caffemodel.h5      # may be left out here and named on the command line
scale: 0.00390625                 # input = (pixels - mean) * scale; default 1; a number, or one a
                                  # channel in the network's order
std: [58.4, 57.1, 57.4]           # instead of scale, 1 / scale: a number, or one a channel
mean: [104, 117, 123]             # a number, one a channel in the network's order, or a mean file
channel_order: BGR                # or RGB, the default
crop: 227                         # side of the square in the middle; default: all of the image
logits: ip2                       # blob of scores; default: what goes into the softmax, or into a
                                  # sigmoid with one output (two classes)
classes: synset_words.txt         # names of the classes, one a line, or a list of them; by these
                                  # (or the WordNet ids before them) folders and listings of images
                                  # can give the labels, too
"""

import os
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256 as digest_of
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml

from caffe_ext.models.batch_dependence import check_batch_independence
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.loadable import LoadableModel, Named, number_classes
from caffe_ext.models.pixels import PixelSpace, read_mean
from caffe_ext.models.text_file import check_utf8, read_text
from caffe_ext.reporting import is_showable, suggest
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.runtime.device import Device
from caffe_ext.storage.provenance import sha256
from caffe_ext.storage.regular_file import AnyPath

_KEYS = (
    "name",
    "deploy",
    "weights",
    "scale",
    "std",
    "mean",
    "channel_order",
    "crop",
    "logits",
    "classes",
)
MEMBERS = "members"
"""The key of a committee's file."""
_independent: set[Hashable] = set()
_SYNSET = r"(n\d{8})\s+(.+)"

# What of a model's record says only how it is called and where its files lie.
_PLACES = ("name", "deploy", "weights")


@dataclass(frozen=True, eq=False)
class ModelDescription(LoadableModel):
    """A network for use, its weights, and how pixels become its input.

    name         as tables and pictures call it
    deploy       prototxt with one input
    weights      .caffemodel or .caffemodel.h5
    pixel_space  scale, mean, channel order, crop
    logits       blob with the scores; None: what goes into the last Softmax
    classes      names of the classes; empty: their numbers
    synsets      WordNet ids of the classes, where the file with the names has them
    """

    name: str
    deploy: Path
    weights: Path
    pixel_space: PixelSpace
    logits: str | None = None
    classes: tuple[str, ...] = ()
    synsets: tuple[str, ...] = ()

    def load(self, batch_size: int = 100, device: Device | None = None) -> Classifier:
        """Return the model, ready for images, on a device, by default the one that Caffe is on.

        Raises FileNotFoundError, ValueError and DeviceError as Classifier does, and ValueError if
        there are names for another number of classes, or if an image's scores depend on the others
        of its batch.
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
        # A model is loaded for each of many tasks, and what has been found good stays so.
        key = (self.file_stamps, self.logits, min(batch_size, 4), classifier.device)
        if key not in _independent:
            check_batch_independence(classifier)
            _independent.add(key)
        return classifier

    @property
    def file_stamps(self) -> tuple[tuple[str, int, int], ...]:
        """Return path, size and time of the two files: while these stay, so does the model."""
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

    def record(self) -> dict[str, Any]:
        """Return what a record of results says of the model: settings and digests, for JSON."""
        space = self.pixel_space
        mean = None if space.mean is None else space.mean.tolist()
        if space.mean is not None and space.mean.ndim == 3:
            digest = digest_of(space.mean.tobytes()).hexdigest()
            mean = f"image {space.mean.shape}, mean {float(space.mean.mean()):.6g}, {digest}"
        return {
            "name": self.name,
            "deploy": str(self.deploy),
            "deploy_sha256": sha256(self.deploy),
            "weights": str(self.weights),
            "weights_sha256": sha256(self.weights),
            "scale": space.scale,
            "mean": mean,
            "channel_order": space.channel_order,
            "crop": space.crop,
            "logits": self.logits,
        }

    def shown_record(self) -> dict[str, Any]:
        """Return record() with the paths from the checkout on, as files of results have them."""
        return self.record() | {
            "deploy": shorten_path(self.deploy),
            "weights": shorten_path(self.weights),
        }

    def identity(self) -> dict[str, Any]:
        """Return what results depend on, for JSON: record() without name and places."""
        return {key: value for key, value in self.record().items() if key not in _PLACES}


class _Loader(yaml.SafeLoader):
    """YAML without aliases: ten lines of aliases of aliases are more than any memory holds."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node; YAMLError for an alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not supported; write out what they stand for")
        return super().compose_node(parent, index)


def read_model(path: AnyPath, weights: AnyPath | None = None) -> ModelDescription:
    """Read the YAML file of one network; `weights`, if given, take the place of the file's.

    With weights of its own the model is called after their file.
    Raises FileNotFoundError, and ValueError that names the file and the key; also for a committee,
    which read_loadable() reads.
    """
    return describe_model(read_settings(path), weights=weights, source=path)


def read_settings(path: AnyPath) -> dict[str, Any]:
    """Return the keys and values of a model's YAML file; raises as read_model()."""
    path = Path(path)
    try:
        given = yaml.load(read_text(path), _Loader)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date 2001-99-99
        _refuse_prototxt(path)
        reason = " ".join(f"{error}".split())  # YAML's own has several lines
        raise ValueError(f"{path} is not YAML: {reason}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply for a model file") from error
    if not isinstance(given, dict):
        _refuse_prototxt(path)
        raise ValueError(f"{path} must have lines of the form `key: value`; keys: {_words(_KEYS)}")
    check_utf8(path, given)
    return given


def _refuse_prototxt(path: Path) -> None:
    """Raise ValueError that says what is needed, if a file without YAML is a network's."""
    if path.suffix == ".prototxt":
        raise ValueError(
            f"{path}: --model takes a YAML file whose `deploy:` names the prototxt "
            "(see --help-model)"
        )


def describe_model(
    settings: Mapping[str, Any], *, weights: AnyPath | None = None, source: AnyPath | None = None
) -> ModelDescription:
    """Return the description for settings by the keys of the YAML file.

    weights  take the place of the settings', and give the model its name
    source   the file that the settings are from: paths are relative to it

    Raises FileNotFoundError for a file that is not there, ValueError for other settings.
    """
    where = f"{source}: " if source else ""
    if MEMBERS in settings:
        raise ValueError(
            f"{where}`{MEMBERS}:` makes a committee of several networks, and here one is needed"
        )
    unknown = [key for key in settings if key not in _KEYS]
    if unknown:
        meant = suggest(str(unknown[0]), _KEYS)
        question = f" (did you mean {meant}?)" if meant else ""
        raise ValueError(f"{where}unknown key {unknown[0]!r}{question}; keys: {_words(_KEYS)}")
    folder = Path(source).parent if source else Path()
    classes, synsets = _classes(settings.get("classes"), folder, where)
    text = {key: _text(settings, key, where) for key in ("name", "deploy", "weights", "logits")}
    if not text["deploy"]:
        raise ValueError(f"{where}`deploy:` is missing, the prototxt of the network")
    file = Path(weights) if weights else folder / text["weights"] if text["weights"] else None
    if file is None:
        raise ValueError(f"{where}`weights:` is missing; name a file there or with --weights")
    description = ModelDescription(
        name=_replace_undecodable(text["name"] if text["name"] and not weights else _stem(file)),
        # Without the ".." that a path beside the file begins with; records show these paths.
        deploy=Path(os.path.normpath(folder / text["deploy"])),
        weights=Path(os.path.normpath(file)),
        pixel_space=_pixel_space(settings, folder, where),
        logits=text["logits"],
        classes=classes,
        synsets=synsets,
    )
    # Weights that the caller names have nothing to do with the file of the settings.
    named = "weights:" if weights else f"{where}`weights:`"
    for key, path in ((f"{where}`deploy:`", description.deploy), (named, file)):
        if not path.is_file():
            raise FileNotFoundError(f"{key} {path} is not a file")
    return description


def class_numbers(models: Iterable[LoadableModel]) -> dict[str, int]:
    """Return the numbers of the classes that several models name; AMBIGUOUS where they differ."""
    every = [model.class_numbers for model in models]
    return number_classes([(number, name) for names in every for name, number in names.items()])


def make_names_distinct(descriptions: Sequence[Named]) -> list[Named]:
    """Return the models with names that differ: equal ones get their folder's name in front."""
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


def _replace_undecodable(name: str) -> str:
    """Return a name that can be written and drawn: U+FFFD for what is not UTF-8 in a file's."""
    return "".join("\ufffd" if "\ud800" <= sign <= "\udfff" else sign for sign in name)


def _stem(weights: Path) -> str:
    """Return the name of a weights' file without its suffixes."""
    return weights.name.removesuffix(".h5").removesuffix(".caffemodel")


def _text(settings: Mapping[str, Any], key: str, where: str) -> str | None:
    value = settings.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where}`{key}:` must be text, not {value!r}")
    return None if value is None else _check_printable(value, key, where)


def _check_printable(text: str, key: str, where: str) -> str:
    """Return a text for terminals, pages and files; ValueError if it has other characters."""
    if not is_showable(text):
        raise ValueError(f"{where}`{key}:` has characters that cannot be shown: {text!a}")
    return text


def _pixel_space(settings: Mapping[str, Any], folder: Path, where: str) -> PixelSpace:
    """Return how pixels become the input."""
    crop = settings.get("crop")
    if crop is not None and type(crop) is not int:
        raise ValueError(f"{where}`crop:` must be a whole number, not {crop!r}")
    mean = settings.get("mean")
    with _file_of(f"{where}`mean:`"):
        mean = read_mean(folder / mean) if isinstance(mean, str) else _numbers(mean)
    try:
        return PixelSpace(
            scale=_scale(settings),
            mean=mean,
            channel_order=settings.get("channel_order", "RGB"),
            crop=crop,
        )
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error


def _scale(settings: Mapping[str, Any]) -> float | tuple[float, ...]:
    """Return the scale, one or one a channel; `std:` is what it is one over."""
    if "scale" in settings and "std" in settings:
        raise ValueError("`scale:` and `std:` are one setting, scale = 1 / std; give one of them")
    key = "std" if "std" in settings else "scale"
    value = settings.get(key, 1)
    numbers = [_number(key, one) for one in (value if isinstance(value, list) else [value])]
    if key == "std":
        if not all(0 < number < float("inf") for number in numbers):
            raise ValueError(f"`std:` must be above 0, not {value!r}")
        numbers = [1 / number for number in numbers]
    return tuple(numbers) if isinstance(value, list) else numbers[0]


def _number(key: str, value: Any) -> float:
    """Return a number; 4e-3, which is text in YAML, is one, too."""
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"`{key}:` must be a number, not {value!r}; or a list with one per channel")


def _numbers(mean: Any) -> Any:
    """Return a mean that stands in the settings themselves: nothing, a number, one a channel."""
    if mean is None or np.asarray(mean).dtype.kind in "iuf":
        return mean
    raise ValueError(
        f"must be a number, a list with one per channel, or the name of a file, not {mean!r}"
    )


def _classes(value: Any, folder: Path, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and WordNet ids of the classes.

    Of ImageNet's "n01440764 tench, Tinca tinca" the words are the name; others have no ids.
    """
    if value is None:
        return (), ()
    if isinstance(value, str):
        with _file_of(f"{where}`classes:`"):
            lines = read_text(folder / value).splitlines()
            check_utf8(folder / value, lines)
        value = [line.strip() for line in lines if line.strip()]
    if not isinstance(value, list) or not value:
        raise ValueError(
            f"{where}`classes:` must be a list of names, or a file with one name per line"
        )
    for name in value:
        # YAML takes a bare yes, no, on or off for a truth value.
        if isinstance(name, bool) or not isinstance(name, str | int | float):
            raise ValueError(f"{where}`classes:` has {name!r}; put names into quotes")
    names = [_check_printable(str(name), "classes", where) for name in value]
    parts = [found.groups() for name in names if (found := re.fullmatch(_SYNSET, name))]
    if len(parts) < len(names):
        return tuple(names), ()
    ids, words = zip(*parts, strict=True)
    return words, ids


@contextmanager
def _file_of(key: str) -> Iterator[None]:
    """Put the key in front of what is wrong with its file."""
    try:
        yield
    except FileNotFoundError as error:
        path = os.path.normpath(error.filename)
        raise FileNotFoundError(f"{key} {path} does not exist{_say_who_writes(path)}") from error
    except OSError as error:
        raise type(error)(f"{key} {error.filename}: {error.strerror}") from error
    except (ValueError, EOFError) as error:
        raise ValueError(f"{key} {error}") from error


def _say_who_writes(path: str) -> str:
    """Return how to get a missing file that this package makes; "" for others."""
    made = Path(path).parts[-2:] == ("cifar10", "mean.binaryproto")
    return "; `caffe-ext get-data cifar10` writes it" if made else ""


def _words(keys: tuple[str, ...]) -> str:
    return ", ".join(keys)
