"""The two LeNets published by BANG's authors: R0 (SGD) and B1 (BANG) of the paper's Table 1.

They are recognised by their digests, whatever their files are called. Searched in this order: the
file or folder named by the user; the folders in the variables CAFFE_EXT_MODELS and CAFFE_EXT_DATA;
the output folder; the authors' repository.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe_ext.data.collection import RemoteFile
from caffe_ext.data.digest import describe_file
from caffe_ext.data.download import download
from caffe_ext.errors import DataError, UnreachableError
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.storage.atomic import replace_file

VARIABLES = ("CAFFE_EXT_MODELS", "CAFFE_EXT_DATA")
_COMMIT = "a63bc240a38454e6a70dbfe4324151045d7efcb4"
_FILES = f"https://raw.githubusercontent.com/arozsa23/caffe/{_COMMIT}/models/mnist"
HOME = "https://github.com/arozsa23/caffe/tree/a63bc240/models/mnist"
_SUBFOLDERS = ("", "models", "models/mnist")


@dataclass(frozen=True)
class PublishedModel:
    """A file of weights.

    name    of the file here
    title   for use in a sentence
    remote  the file in the authors' repository
    """

    name: str
    title: str
    remote: RemoteFile


def _describe_lenet(name: str, title: str, remote: str, md5: str) -> PublishedModel:
    return PublishedModel(name, title, RemoteFile(remote, 1739440, md5, (f"{_FILES}/{remote}",)))


MODELS = (
    _describe_lenet(
        "lenet_R0.caffemodel.h5",
        "R0, trained with SGD",
        "lenet.caffemodel.h5",
        "88dab2ee730f7284c98f774249e75d3a",
    ),
    _describe_lenet(
        "lenet_B1.caffemodel.h5",
        "B1, trained with BANG",
        "lenet_bang.caffemodel.h5",
        "9a77019f5d4add3cb0cf9f364718030a",
    ),
)


def prepare_models(
    folder: Path,
    given: Path | None = None,
    *,
    use_network: bool = True,
    again: bool = False,
    reporter: Reporter | None = None,
) -> tuple[Path, ...]:
    """Put the models into a folder, verified by their digests; return their files.

    given        file, or folder with files, named by the user; then nothing else is searched
    use_network  whether they may be downloaded
    again        replace other files of these names

    Raises DataError if a model is not found, or if another file has its name.
    """
    reporter = reporter or SilentReporter()
    return tuple(
        _prepare(model, folder, given, use_network=use_network, again=again, reporter=reporter)
        for model in MODELS
    )


def _prepare(  # noqa: PLR0913  the settings are independent of each other
    model: PublishedModel,
    folder: Path,
    given: Path | None,
    *,
    use_network: bool,
    again: bool,
    reporter: Reporter,
) -> Path:
    """Put one model into the folder, unless it is there; return its file."""
    target = folder / model.name
    if target.exists() or target.is_symlink():
        if _matches(target, model):
            return target
        if not again:
            raise DataError(
                f"{target} is not the published {model.title}; move it away, or replace it with "
                "--again"
            )
    places = _list_places(given) if given is not None else [*_list_variable_places(), folder]
    found, downloaded = _find(model, places), None
    if found is None and given is not None:
        raise DataError(
            f"{given} (--data-dir) does not hold {_describe_missing(model)}; it is at {HOME}"
        )
    if found is None:
        found = downloaded = _download(model, folder, reporter, use_network=use_network)
    folder.mkdir(parents=True, exist_ok=True)
    with found.open("rb") as source, replace_file(target) as file:
        shutil.copyfileobj(source, file)
    if downloaded is not None:
        downloaded.unlink()  # under the authors' name
    return target


def _download(
    model: PublishedModel, folder: Path, reporter: Reporter, *, use_network: bool
) -> Path:
    """Download a model into the folder; return its file, under the authors' name."""
    reason = "downloading was not allowed (--no-download)"
    if use_network:
        try:
            return download(model.remote, folder, reporter)
        except UnreachableError as error:
            reason = f"its download site could not be reached ({error})"
    raise DataError(
        f"{_describe_missing(model)} is not on this machine, and {reason}; download it from {HOME} "
        "and name its file or folder with --data-dir"
    )


def _describe_missing(model: PublishedModel) -> str:
    """Return the name of a missing model for messages."""
    return f"{model.remote.name} ({model.title}; MD5 {model.remote.md5})"


def _list_places(given: Path) -> list[Path]:
    """Return where to search for the models, as given by the user."""
    if not given.exists():
        raise DataError(f"--data-dir names {given}, which does not exist")
    return [given]


def _list_variable_places() -> list[Path]:
    """Return the folders that the environment names."""
    return [Path(value) for name in VARIABLES if (value := os.environ.get(name))]


def _find(model: PublishedModel, places: Sequence[Path]) -> Path | None:
    """Return the first file that is the model, whatever it is called."""
    return next((path for path in _list_files(places) if _matches(path, model)), None)


def _list_files(places: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that may be models: those named, and the .h5 files in folders."""
    for place in places:
        if place.is_file():
            yield place
        for subfolder in _SUBFOLDERS:
            yield from sorted((place / subfolder).glob("*.h5"))


def _matches(path: Path, model: PublishedModel) -> bool:
    """Tell whether a file is the published one, by its size and its MD5."""
    if not path.is_file() or path.stat().st_size != model.remote.size:
        return False
    return describe_file(path).md5 == model.remote.md5
