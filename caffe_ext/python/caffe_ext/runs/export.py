"""The adversarials of a run as PNG files, each with a JSON file that describes it.

    00017_7_as_2.png  00017_7_as_2.json         number of the image, its label, the new class
    00017_predicted_7_as_2.png                  the same for images without labels
    originals/00017_7_as_2.png                  the original image, under the same name

`caffe-ext pass` measures both folders against each other.

Each PNG is read back and classified again: the file is what counts. Existing files are not
written again, so that an interrupted export resumes. If the names of the classes have changed,
files with the old names are removed after those with the new names have been written.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.data.image_files import read_image, write_png
from caffe_ext.data.image_source import ImageSource
from caffe_ext.errors import DataError, RecordError
from caffe_ext.models.base import Images, Model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runs.records import AttackRecords, load_adversarials
from caffe_ext.runs.runner import AttackRun
from caffe_ext.storage.atomic import encode_json, write_bytes
from caffe_ext.storage.json_file import Count, read_json

ORIGINALS = "originals"
EXPORT_SECONDS = 0.003
"""Approximate time for two PNG files, a JSON file, and the classification of what is read back."""
_OURS = re.compile(r"\.?\d{5,}_.*_as_.*\.(png|json|part|partial)")
# Of a class's name in a file's name, which may have 255 bytes, with two names and ".json.partial".
_NAME_CHARACTERS, _NAME_BYTES = 40, 80
_FOLDER_BYTES = 200
_MEASURES = ("step_lengths", "l0", "l1", "l2", "l2_per_pixel", "linf", "mean_absolute")


@dataclass(frozen=True)
class Export:
    """Where the files of a run go, and their common content.

    run     the finished run with the records
    model   gives the names of the classes
    common  what all JSON files contain: the model's digests, ...
    """

    run: AttackRun
    model: LoadableModel
    common: Mapping[str, Any]

    @property
    def progress_title(self) -> str:
        """Return how the progress of the export is announced."""
        return f"{self.run.attack.name}: PNG files"

    @property
    def folder(self) -> Path:
        """Return the folder of the files."""
        return self.run.folder / self.run.file_stem

    @property
    def originals(self) -> Path:
        """Return the folder of the original images."""
        return self.folder / ORIGINALS

    def locate_png(self, records: AttackRecords, row: int) -> Path:
        """Return the file of a row's adversarial."""
        label, new = (
            _cut(make_plain_name(self.model.name_class(number)))
            for number in (int(records.labels[row]), int(records.classes[row]))
        )
        predicted = "" if self.run.labelled else "predicted_"
        return self.folder / f"{records.indices[row]:05}_{predicted}{label}_as_{new}.png"

    def make_entry(
        self, records: AttackRecords, row: int, name: str, verified: bool
    ) -> dict[str, Any]:
        """Return the content of the JSON file of a row's adversarial; unknown values are null."""
        attack = self.run.attack
        numbers = {column: _as_number(getattr(records, column)[row]) for column in _MEASURES}
        numbers["step_length"] = numbers.pop("step_lengths")
        target = int(records.targets[row])
        classes = {
            "label": int(records.labels[row]) if self.run.labelled else None,
            "predicted": int(records.predicted[row]),
            "class": int(records.classes[row]),
            "target": target if target >= 0 else None,
        }
        names = {
            f"{key}_name": self.model.name_class(number)
            for key, number in classes.items()
            if self.model.classes and number is not None
        }
        scores = {
            "pass_standard": _as_number(records.pass_scores[row]),
            "ecc_failed_standard": bool(records.ecc_failed[row]),
            "pass_published": _as_number(records.pass_published[row]),
            "ecc_failed_published": bool(records.ecc_failed_published[row]),
        }
        return {
            "index": int(records.indices[row]),
            "image": name,
            **classes,
            **names,
            "verified": verified,
            **numbers,
            **scores,
            "attack": attack.name,
            "attack_text": attack.text,
            "threat_model": attack.describe_threat(self.run.criterion),
            "criterion": self.run.criterion.text,
            **self.common,
        }


def export_adversarials(
    classifier: Model,
    source: ImageSource,
    export: Export,
    records: AttackRecords,
    reporter: Reporter | None = None,
) -> NDArray[np.bool_]:
    """Write the adversarials of a finished run; return which are adversarial in their files.

    The result is bool (M,), in the order of the records; False if the image that was read back
    does not satisfy the run's criterion. Memory: one batch.

    Raises RecordError if another image has the same name, OSError naming what cannot be written.
    """
    found = np.flatnonzero(records.found)
    verified = np.zeros(len(found), np.bool_)
    export.folder.mkdir(parents=True, exist_ok=True)
    with (reporter or SilentReporter()).show_progress(
        export.progress_title, len(found), "image"
    ) as step:
        for start in range(0, len(records), classifier.batch_size):
            stop = start + classifier.batch_size
            part = slice(*np.searchsorted(found, [start, stop]).tolist())
            rows = found[part]
            if not len(rows):
                continue
            adversarials = load_adversarials(export.run.path, part)
            paths = [export.locate_png(records, row) for row in rows]
            written = _write_missing(paths, adversarials)
            criterion = export.run.criterion(records.labels[rows])
            logits = classifier.logits(written)
            verified[part] = criterion.is_satisfied(logits, np.arange(len(rows)))
            batch = source.read(slice(start, stop))
            names = batch.names
            _write_originals(export, paths, batch.images[rows - start])
            for row, path, good in zip(rows, paths, verified[part], strict=True):
                entry = export.make_entry(records, row, names[row - start], bool(good))
                _write_json(path.with_suffix(".json"), entry)
            step(len(rows))
    _remove_old_names(export, records, found)
    return verified


def check_export(export: Export) -> None:
    """Raise RecordError if the folder holds images but not their records."""
    run = export.run
    if not run.path.exists() and not run.parts.exists() and list_exported_files(export.folder):
        raise RecordError(
            f"{export.folder} holds adversarials, but {run.path.name}, their records, is missing; "
            "choose another folder, or discard the old results with --again"
        )


def discard_export(export: Export) -> None:
    """Remove what earlier exports have written to the folder, and nothing else."""
    for path in (*list_exported_files(export.folder), *list_exported_files(export.originals)):
        path.unlink()


def list_exported_files(folder: Path) -> list[Path]:
    """Return the files in a folder whose names are those of an export."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _OURS.fullmatch(path.name))


def identify(model: LoadableModel, digest: str, *, labelled: bool = True) -> dict[str, Any]:
    """Return what results depend on: settings and digests, not paths.

    labelled  whether the images have labels; otherwise the model's predictions are their labels
    """
    images = {"sha256": digest} | ({} if labelled else {"labelled": False})
    return {"model": model.identify(), "images": images}


def make_plain_name(text: str) -> str:
    """Return a text as part of a file's name: letters, digits, and safe punctuation."""
    return re.sub(r"[^\w.@-]+", "_", text).strip("._") or "_"


def name_model_folders(names: Sequence[str], files: Collection[str]) -> list[str]:
    """Return the names of the folders for the results of models with these names.

    files  other files that are written beside the folders

    Raises ValueError for names that are too alike, too long, or those of files.
    """
    folders = [make_plain_name(name) for name in names]
    for number, (name, folder) in enumerate(zip(names, folders, strict=True)):
        if len(folder.encode()) > _FOLDER_BYTES:
            raise ValueError(
                f"the name of a model, {name[:_NAME_CHARACTERS]!r} ..., has {len(name):,} "
                "characters, too many for a folder; give it a shorter one (`name:` in its YAML "
                "file)"
            )
        if folder in folders[:number]:
            raise ValueError(
                f"the models {names[folders.index(folder)]!r} and {name!r} would share the folder "
                f"{folder}; give them more distinct names: `name:` in their YAML files"
            )
        if folder in files:
            raise ValueError(
                f"a model cannot be called {name!r}, which is the name of a result file; give it "
                "another name (`name:` in its YAML file)"
            )
    return folders


def _cut(name: str) -> str:
    """Return as much of a class's name as fits into a file's name, in whole characters."""
    return name[:_NAME_CHARACTERS].encode()[:_NAME_BYTES].decode(errors="ignore")


def _remove_old_names(export: Export, records: AttackRecords, found: NDArray[np.int64]) -> None:
    """Remove the pairs of files of exported images that have other names of the classes.

    The JSON file tells the image; images without one are not the export's.
    """
    present = {int(records.indices[row]): export.locate_png(records, row).stem for row in found}
    for path in list_exported_files(export.folder):
        index = int(path.name.lstrip(".").partition("_")[0])
        old = path.suffix == ".json" and path.stem != present.get(index, path.stem)
        if old and _describes(path, index, export.run.attack.text):
            path.with_suffix(".png").unlink(missing_ok=True)
            (export.originals / f"{path.stem}.png").unlink(missing_ok=True)
            path.unlink()


@dataclass(frozen=True)
class _Entry:
    """The part of an adversarial's JSON file that is read back."""

    index: Count
    attack_text: str


def _describes(path: Path, index: int, attack: str) -> bool:
    """Tell whether a JSON file belongs to an export of this image and attack."""
    try:
        return read_json(path, _Entry, "") == _Entry(index, attack)
    except RecordError:
        return False


def _write_missing(paths: Sequence[Path], adversarials: Images) -> Images:
    """Write the missing images; return all images as read back from their files."""
    for path, adversarial in zip(paths, adversarials, strict=True):
        # A power cut may have left an empty file: thousands of files are not synced one by one.
        if not path.exists() or not path.stat().st_size:
            write_png(path, adversarial, sync=False)
    read = np.empty_like(adversarials)
    for number, (path, adversarial) in enumerate(zip(paths, adversarials, strict=True)):
        try:
            image = read_image(path)
        except DataError as error:
            raise RecordError(f"{error}; remove the file and run the same command again") from error
        if not np.array_equal(image, adversarial):
            raise RecordError(
                f"{path} differs from the adversarial in the records; remove it and run the same "
                "command again"
            )
        read[number] = image
    return read


def _write_originals(export: Export, paths: Sequence[Path], originals: Images) -> None:
    """Write the original images, under the names of their adversarials, unless they are there.

    This package's runs never read them back.
    """
    export.originals.mkdir(exist_ok=True)
    for path, original in zip(paths, originals, strict=True):
        copy = export.originals / path.name
        if not copy.exists() or not copy.stat().st_size:
            write_png(copy, original, sync=False)


def _write_json(path: Path, entry: Mapping[str, Any]) -> None:
    """Write a JSON file, complete or not at all, unless it exists with the same content."""
    content = encode_json(entry)
    if not (path.is_file() and path.read_bytes() == content):
        write_bytes(path, content, sync=False)


def _as_number(value: Any) -> float | None:
    """Return a number for JSON: integers without a decimal point, NaN as null."""
    number = float(value)
    if math.isnan(number):
        return None
    return int(number) if number.is_integer() else number
