"""NoiseCurvesRun: what NoiseCurves are measured on, and the folder of the pieces.

The folder has description.json, with everything that the results depend on, chosen.json, with the
chosen images, and a file for each network that has been started, so that an interrupted run can
resume. Pieces of another run, such as with other weights, are never overwritten.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.data import ImageSource
from caffe_ext.errors import RecordError
from caffe_ext.models.base import Ints
from caffe_ext.models.description import ModelDescription
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.description import check_same
from caffe_ext.storage.json_file import Kind, Object, read_json
from caffe_ext.storage.lock import lock_folder
from caffe_ext.studies.noise_curves.curves import NoiseProtocol

# 2: the noise of an image depends on its number, and no longer on its place among the chosen.
FORMAT = 2
DESCRIPTION, CHOSEN = "description.json", "chosen.json"


@dataclass(frozen=True, eq=False)
class NoiseCurvesRun:
    """What is measured, on what, and where the pieces go.

    models      the networks of each training run by iteration; the same iterations, ascending, in
                all
    source      where the images are
    labels      int64 (N,), of the source's first N images, those to choose from
    images      what the results depend on in the source, for JSON: its digest
    folder      where the pieces go; created if necessary
    batch_size  images in a network at a time
    """

    models: Mapping[str, Mapping[int, ModelDescription]]
    source: ImageSource
    labels: Ints
    images: Mapping[str, Any]
    protocol: NoiseProtocol
    folder: Path
    batch_size: int = 100

    def __post_init__(self) -> None:
        """Raise ValueError if a class has too few images."""
        classes, counts = np.unique(self.labels, return_counts=True)
        if counts.min() < self.protocol.per_class:
            raise ValueError(
                f"there are only {counts.min()} images of class {classes[counts.argmin()]}; "
                f"{self.protocol.per_class} were requested"
            )

    @property
    def chosen(self) -> int:
        """Return how many images are chosen, in all."""
        return len(np.unique(self.labels)) * self.protocol.per_class

    @property
    def iterations(self) -> list[int]:
        """Return the iterations."""
        return list(next(iter(self.models.values())))

    @property
    def networks(self) -> list[tuple[Path, ModelDescription]]:
        """Return each network with the file of its piece, in the order of the training runs."""
        return [
            (self.folder / f"{number}_iter_{iteration}.json", model)
            for number, training in enumerate(self.models.values(), 1)
            for iteration, model in training.items()
        ]

    def describe(self) -> dict[str, Any]:
        """Return all that the results depend on, for JSON; reads the weights' files."""
        return {
            "format": FORMAT,
            "protocol": asdict(self.protocol),
            "images": dict(self.images) | {"candidates": len(self.labels)},
            "trainings": [
                {
                    "name": name,
                    "networks": {str(number): model.identify() for number, model in by.items()},
                }
                for name, by in self.models.items()
            ],
        }


@contextmanager
def claim_pieces(run: NoiseCurvesRun, *, again: bool = False) -> Iterator[None]:
    """Create the folder, and be the only process that works in it; it must be this run's, or new.

    again  first remove the files of other runs

    Raises RecordError if it holds another run's pieces or another process works in it, OSError if
    it cannot be written.
    """
    busy = RecordError(f"another process is using {run.folder}; wait for it to finish or stop it")
    with lock_folder(run.folder, busy):
        if again:
            _discard(run.folder)
        _check(run, run.folder / DESCRIPTION)
        yield


def read_piece(path: Path, kind: type[Kind], check: Callable[[Kind], object]) -> Kind:
    """Read a file of the folder, JSON of a type.

    Raises RecordError if it is damaged, as it is where `check` raises ValueError.
    """
    advice = "remove it, or use --again"
    piece = read_json(path, kind, advice)
    try:
        check(piece)
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {advice} ({error})") from error
    return piece


def write_piece(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file of the folder, complete or not at all."""
    write_json(path, content, indent=None)


def _discard(folder: Path) -> None:
    """Remove all files of runs in a folder; the description is removed last."""
    for name in ("*_iter_*.json", CHOSEN, DESCRIPTION):
        for path in folder.glob(name):
            path.unlink()


def _check(run: NoiseCurvesRun, note: Path) -> None:
    """Write the description of the run, or check that it is the same as the existing one.

    A run that has measured nothing yet, such as one of networks that do not fit, is none.
    """
    mine = run.describe()
    begun = (note.parent / CHOSEN).exists() or any(note.parent.glob("*_iter_*.json"))
    if not (begun and note.exists()):
        write_piece(note, mine)
        return
    advice = "choose another folder, or discard the old results with --again"
    found = read_piece(note, Object, lambda _: None)
    check_same(mine, found, f"{run.folder} holds results of another run", advice)
