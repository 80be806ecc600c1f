"""The folder of a training set of hard positives: an LMDB, and a record of how it was made.

    train_lmdb            hard positives with their originals' labels, and the originals, shuffled
    hard_positives.json   counts, PASS, digests, settings
    attacks/              the attacks' results, one file each

LMDB and record replace older ones completely, or not at all.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from caffe_ext.data.database import write_parts
from caffe_ext.data.image_set import ImageSet
from caffe_ext.errors import DataError, RecordError
from caffe_ext.reporting import Reporter
from caffe_ext.storage.atomic import encode_json, write_json
from caffe_ext.storage.description import check_same
from caffe_ext.storage.json_file import Count, Object, read_json, validate
from caffe_ext.storage.provenance import hash_file
from caffe_ext.storage.staging import stage_content
from caffe_ext.training.hard_positives.presets import AttackYield

DATABASE, RECORD, ATTACKS = "train_lmdb", "hard_positives.json", "attacks"
FORMAT = 1
_UNFINISHED = encode_json({"format": FORMAT, "finished": False})


@dataclass(frozen=True)
class _SavedRecord:
    """The part of hard_positives.json that is read back; the rest is for people."""

    format: Literal[1]
    finished: Literal[True]
    images: Count
    hard_positives: Count
    originals: Count
    attacks: tuple[AttackYield, ...]
    settings: Object


@dataclass(frozen=True)
class HardPositiveSet:
    """A finished set: its record, and whether it was made now or was there before.

    attacked, seconds  how many images attacks went through now, each attack counted, and the time
    """

    folder: Path
    record: dict[str, Any]
    made: bool
    attacked: int = 0
    seconds: float = 0.0

    @property
    def database(self) -> Path:
        """Return the folder of the LMDB."""
        return self.folder / DATABASE


def read_set(folder: Path) -> HardPositiveSet | None:
    """Return the set in a folder; None if there is none, or it is unfinished."""
    try:
        record = read_json(folder / RECORD, Object, "")
        validate(record, _SavedRecord)
    except (FileNotFoundError, NotADirectoryError, RecordError, ValueError):
        return None
    there = (folder / DATABASE / "data.mdb").is_file()
    return HardPositiveSet(folder, record, made=False) if there else None


def refuse_foreign(folder: Path) -> None:
    """Raise DataError for a folder that holds anything but a set of hard positives."""
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    known = {DATABASE, RECORD, ATTACKS}
    foreign = sorted(names - known) or sorted(names & {DATABASE} if RECORD not in names else ())
    if foreign:
        raise DataError(
            f"{folder} holds other files ({', '.join(foreign[:3])}); choose another folder"
        )


def refuse_other(present: HardPositiveSet, settings: Mapping[str, Any]) -> None:
    """Raise RecordError if the set was made with other settings."""
    what = f"{present.folder} holds hard positives of other settings"
    advice = (
        "choose another folder, or replace them with --again, which reuses the attacks that fit"
    )
    check_same(settings, present.record["settings"], what, advice)


def write_set(
    folder: Path,
    parts: Iterable[ImageSet],
    record: Mapping[str, Any],
    shape: tuple[int, ...],
    reporter: Reporter,
) -> None:
    """Write the images (C, H, W), replacing an older set; needs the folder's lock.

    parts   in their order; one is in memory at a time
    record  for JSON; "images" is how many there are
    """
    with stage_content(folder, (DATABASE,), RECORD, _UNFINISHED) as making:
        write_parts(making / DATABASE, parts, record["images"], shape, reporter=reporter)
        about = {
            "format": FORMAT,
            "finished": True,
            **record,
            "sha256": {f"{DATABASE}/data.mdb": hash_file(making / DATABASE / "data.mdb")},
        }
        write_json(making / RECORD, about)
