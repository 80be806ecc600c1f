"""The folder of an attack's results: what is run, the finished pieces, and a lock.

<attack>.h5       the records, when the run is finished
<attack>.parts/   the finished pieces until then; locked by the process that works on them

A folder with the results of something else, such as another model, is never overwritten.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.criteria import MISCLASSIFIED, Bools, CriterionKind
from caffe_ext.errors import RecordError
from caffe_ext.runs.records import AttackRecords, load_description, load_records
from caffe_ext.storage.atomic import write_json
from caffe_ext.storage.description import check_same
from caffe_ext.storage.json_file import Object, read_json
from caffe_ext.storage.lock import lock_folder


@dataclass(frozen=True)
class AttackRun:
    """What is run, on what, and where the results go.

    identity   what the results depend on, for JSON: the digests of model and images; without the
               attack, which is added
    folder     where the files go; created if necessary
    limit      how many of the source's images, 1 or more; None: all
    again      discard earlier results of this attack; an interrupted run with `again` is resumed
    criterion  what makes an image adversarial
    only       bool, one for each image: which of them may be attacked; None: all
    """

    attack: Attack
    identity: dict[str, Any]
    folder: Path
    limit: int | None = None
    again: bool = False
    criterion: CriterionKind = MISCLASSIFIED
    only: Bools | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Raise ValueError for a limit below 1."""
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"the limit must be 1 image or more, not {self.limit}")

    @property
    def file_stem(self) -> str:
        """Return the stem of its files' names: the attack, and any criterion but the default."""
        if self.criterion == MISCLASSIFIED:
            return self.attack.file_name
        return f"{self.attack.file_name}~{self.criterion.text}"

    @property
    def labelled(self) -> bool:
        """Return whether the images have labels; otherwise the model's predictions are recorded."""
        images = self.identity.get("images")
        return not isinstance(images, dict) or bool(images.get("labelled", True))

    @property
    def path(self) -> Path:
        """Return the file with the records."""
        return self.folder / f"{self.file_stem}.h5"

    @property
    def parts(self) -> Path:
        """Return the folder with the finished pieces."""
        return self.folder / f"{self.file_stem}.parts"

    @property
    def note(self) -> Path:
        """Return the file that describes the finished pieces."""
        return self.parts / "description.json"

    @property
    def asked_again(self) -> Path:
        """Return the file that marks the finished pieces as those of a run with `again`."""
        return self.parts / "again"

    @property
    def description(self) -> dict[str, Any]:
        """Return the description that is stored with the records."""
        attack = {
            "name": self.attack.name,
            "text": self.attack.text,
            "threat_model": self.attack.describe_threat(self.criterion),
        }
        return {
            **self.identity,
            "limit": self.limit,
            "attack": attack,
            "criterion": self.criterion.text,
            "seed": self.attack.seed,
            "only": None if self.only is None else _hash_choice(self.only),
        }


def _hash_choice(only: Bools) -> str:
    """Return a digest of a choice of images, for a description."""
    return sha256(np.packbits(only).tobytes() + len(only).to_bytes(8, "little")).hexdigest()


def check_run(run: AttackRun) -> None:
    """Raise RecordError if the folder holds the results of something else; only reads."""
    if run.path.exists():
        _check_same(run, load_description(run.path), run.path)
    elif run.note.exists():
        advice = f"delete {run.parts}, or choose another folder"
        _check_same(run, read_json(run.note, Object, advice), run.parts)


def read_finished(run: AttackRun, count: int) -> AttackRecords | None:
    """Return the records of `count` images if they are there; raises as check_run() does."""
    check_run(run)
    return load_records(run.path, slice(0, count)) if run.path.exists() else None


@contextmanager
def lock_pieces(run: AttackRun) -> Iterator[None]:
    """Create the folder for pieces, and be the only process in it; an empty one is removed at the
    end.

    Raises RecordError if another process is working in it.
    """
    busy = RecordError(f"another process is using {run.parts}; wait for it to finish or stop it")
    with lock_folder(run.parts, busy):
        try:
            yield
        finally:
            if not any(run.parts.glob("[0-9]*.h5")):
                remove_pieces(run)
                run.parts.rmdir()


def remove_leftovers(run: AttackRun) -> None:
    """Remove the pieces of a run that was killed after its records had been written."""
    if run.parts.exists():
        # Another process may just be about to do so, and the folder may be one to read only.
        with suppress(RecordError, OSError), lock_pieces(run):
            remove_pieces(run)


def is_begun_again(run: AttackRun) -> bool:
    """Tell whether the pieces are of such a run with `again`."""
    try:
        check_run(run)
    except RecordError:
        return False
    return run.asked_again.exists() and not run.path.exists()


def locate_piece(run: AttackRun, rows: slice) -> Path:
    """Return the file of a piece."""
    return run.parts / f"{rows.start:08}-{rows.stop:08}.h5"


def describe_pieces(run: AttackRun) -> None:
    """Write the description of the pieces into their folder."""
    write_json(run.note, run.description)


def _check_same(run: AttackRun, found: dict[str, Any], where: Path) -> None:
    """Raise RecordError unless the description is this run's."""
    advice = "choose another folder, or discard the old results with --again"
    about = f"{where} holds results of another run"
    check_same(_list_dependencies(run.description), _list_dependencies(found), about, advice)


def _list_dependencies(description: dict[str, Any]) -> dict[str, Any]:
    """Return what results depend on: of an attack its text, but not its name.

    Descriptions of earlier versions lack the criterion, which was misclassification.
    """
    attack = description.get("attack")
    text = attack.get("text") if isinstance(attack, dict) else attack
    return {"criterion": MISCLASSIFIED.text, **description, "attack": {"text": text}}


def remove_pieces(run: AttackRun) -> None:
    """Remove the pieces, and the files that belong to them."""
    for path in run.parts.iterdir():
        path.unlink()
