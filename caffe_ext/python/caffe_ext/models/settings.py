"""The YAML file of a model: reads it and checks each key; docs/model-files.md explains them."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.models.pixels import PixelSpace, read_mean
from caffe_ext.models.text_file import check_utf8, read_text
from caffe_ext.models.yaml_file import NotYamlError, read_yaml
from caffe_ext.reporting import is_showable, suggest
from caffe_ext.storage.regular_file import AnyPath

KEYS = (
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
SMOOTHING = "smoothing"
"""The key of a smoothed model's file, beside those of the network."""
_SYNSET = r"(n\d{8})\s+(.+)"


def read_settings(path: AnyPath) -> dict[str, Any]:
    """Return the keys and values of a YAML file; raises the same as read_model()."""
    path = Path(path)
    try:
        given = read_yaml(path)
    except NotYamlError:
        _refuse_prototxt(path)
        raise
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply for a model file") from error
    if not isinstance(given, dict):
        _refuse_prototxt(path)
        raise ValueError(
            f"{path} must have lines of the form `key: value`; keys: "
            f"{_join_keys((*KEYS, SMOOTHING))}"
        )
    check_utf8(path, given)
    return given


def _refuse_prototxt(path: Path) -> None:
    """Raise ValueError, with what is needed, if a file that is not YAML is a prototxt."""
    if path.suffix == ".prototxt":
        raise ValueError(
            f"{path}: --model takes a YAML file whose `deploy:` names the prototxt "
            "(see --help-model)"
        )


def check_keys(settings: Mapping[str, Any], where: str) -> None:
    """Raise ValueError for a key that a network's file does not have."""
    if MEMBERS in settings:
        raise ValueError(
            f"{where}`{MEMBERS}:` makes a committee of networks; a single one is needed here"
        )
    if SMOOTHING in settings:
        raise ValueError(
            f"{where}`{SMOOTHING}:` makes a smoothed model, which has no network of its own; the "
            "network itself is needed here"
        )
    unknown = [key for key in settings if key not in KEYS]
    if unknown:
        meant = suggest(str(unknown[0]), (*KEYS, SMOOTHING, MEMBERS))
        question = f" ({meant})" if meant else ""
        raise ValueError(
            f"{where}unknown key {unknown[0]!r}{question}; keys: {_join_keys((*KEYS, SMOOTHING))}"
        )


def get_text(settings: Mapping[str, Any], key: str, where: str) -> str | None:
    """Return the text of a key, None where it is missing; ValueError for other values."""
    value = settings.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{where}`{key}:` must be text, not {value!r}")
    return None if value is None else _check_printable(value, key, where)


def _check_printable(text: str, key: str, where: str) -> str:
    """Return a text for terminals, pages and files; ValueError if it has other characters."""
    if not is_showable(text):
        raise ValueError(f"{where}`{key}:` has characters that cannot be shown: {text!a}")
    return text


def make_pixel_space(settings: Mapping[str, Any], folder: Path, where: str) -> PixelSpace:
    """Return how pixels become the input."""
    crop = settings.get("crop")
    if crop is not None and type(crop) is not int:
        raise ValueError(f"{where}`crop:` must be a whole number, not {crop!r}")
    mean = settings.get("mean")
    with _prefix_errors(f"{where}`mean:`"):
        mean = read_mean(folder / mean) if isinstance(mean, str) else _parse_numbers(mean)
    try:
        return PixelSpace(
            scale=_parse_scale(settings),
            mean=mean,
            channel_order=settings.get("channel_order", "RGB"),
            crop=crop,
        )
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error


def _parse_scale(settings: Mapping[str, Any]) -> float | tuple[float, ...]:
    """Return the scale, one number or one per channel; `std:` is its reciprocal."""
    if "scale" in settings and "std" in settings:
        raise ValueError("`scale:` and `std:` are one setting, scale = 1 / std; give one of them")
    key = "std" if "std" in settings else "scale"
    value = settings.get(key, 1)
    numbers = [_parse_number(key, one) for one in (value if isinstance(value, list) else [value])]
    if key == "std":
        if not all(0 < number < float("inf") for number in numbers):
            raise ValueError(f"`std:` must be above 0, not {value!r}")
        numbers = [1 / number for number in numbers]
    return tuple(numbers) if isinstance(value, list) else numbers[0]


def _parse_number(key: str, value: Any) -> float:
    """Return a number; one in quotation marks is accepted."""
    try:
        if isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"`{key}:` must be a number, not {value!r}; or a list with one per channel")


def _parse_numbers(mean: Any) -> Any:
    """Return a mean given in the settings themselves: None, a number, or one per channel."""
    if mean is None or np.asarray(mean).dtype.kind in "iuf":
        return mean
    raise ValueError(
        f"must be a number, a list with one per channel, or the name of a file, not {mean!r}"
    )


def read_classes(value: Any, folder: Path, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and WordNet ids of the classes.

    Of ImageNet's "n01440764 tench, Tinca tinca" the words are the name; others have no ids.
    """
    if value is None:
        return (), ()
    if isinstance(value, str):
        with _prefix_errors(f"{where}`classes:`"):
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
def _prefix_errors(key: str) -> Iterator[None]:
    """Prefix errors of a key's file with the key."""
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
    """Return how to get a missing file that this package writes; "" for other files."""
    made = Path(path).parts[-2:] == ("cifar10", "mean.binaryproto")
    return "; `caffe-ext get-data cifar10` writes it" if made else ""


def _join_keys(keys: tuple[str, ...]) -> str:
    return ", ".join(keys)
