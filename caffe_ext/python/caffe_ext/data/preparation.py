"""From raw files to the databases that the networks use: the work of `caffe-ext get-data`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from caffe_ext.data import digits
from caffe_ext.data.cifar import CIFAR10
from caffe_ext.data.collection import Collection
from caffe_ext.data.database import count_records, write_database
from caffe_ext.data.mean_image import compute_mean_image, write_mean_image
from caffe_ext.data.mnist import MNIST
from caffe_ext.data.record import FILE_NAME, UNFINISHED, SourceRecord, read_record
from caffe_ext.data.sources import Source, download_source, find_local_source, make_digits_source
from caffe_ext.errors import DataError, UnreachableError
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.storage.staging import explain_full_disk, lock_for_making, stage_content

COLLECTIONS: dict[str, Collection] = {"mnist": MNIST, "cifar10": CIFAR10}
MEAN_FILE = "mean.binaryproto"
IDX_FOLDER = "idx"
_CONTENT = ("train_lmdb", "val_lmdb", "test_lmdb", MEAN_FILE, IDX_FOLDER)


@dataclass(frozen=True)
class Request:
    """What is to be prepared.

    name        mnist, cifar10 or digits
    output      the folder in which a folder of that name gets the databases
    data_dir    the folder with the raw files, if the user named one
    homes       folders, besides `output`, to search for raw files if the user named none
    validation  how many of the last training images to hold out, in val_lmdb
    download    whether the network may be used
    force       write it again even if it is up to date or was written by another program
    """

    name: str
    output: Path
    data_dir: Path | None = None
    homes: Sequence[Path] = ()
    validation: int = 0
    download: bool = True
    force: bool = False

    @property
    def folder(self) -> Path:
        """Return the folder of the databases."""
        return self.output / self.name


@dataclass(frozen=True)
class PreparedFolder:
    """A folder of databases, its record, and whether it was written now or was up to date."""

    folder: Path
    record: SourceRecord
    made: bool


def prepare(request: Request, reporter: Reporter | None = None) -> PreparedFolder:
    """Find, download or generate a data set, and write its databases unless they are up to date.

    Writes train_lmdb, test_lmdb, val_lmdb if asked for, CIFAR-10's mean.binaryproto, the digits'
    idx/ and source.json into OUTPUT/NAME; on any error, nothing.
    Raises DataError with a sentence for the user, or OSError for a file that cannot be reached.
    """
    reporter = reporter or SilentReporter()
    folder = request.folder
    source = _find_local(request, reporter)
    with explain_full_disk(folder), lock_for_making(folder):
        present = read_intact_record(folder)
        if present is None and not request.force:
            _refuse_foreign(folder)
        if source is None:
            # Raw files that are gone since are not fetched again to find that nothing is to do.
            if present and not present.embedded and _is_requested(present, request):
                return PreparedFolder(folder, present, made=False)
            source = _fetch_remote(request, reporter)
        if (
            present
            and present.fingerprint == source.fingerprint
            and _is_requested(present, request)
        ):
            return PreparedFolder(folder, present, made=False)
        return PreparedFolder(folder, _make(request, source, reporter), made=True)


def read_intact_record(folder: Path) -> SourceRecord | None:
    """Return the record of a folder if everything it lists is there, otherwise None."""
    record = read_record(folder)
    if record is None:
        return None
    counts = {name: count_records(folder / name) for name in record.images}
    complete = counts == record.images and all((folder / name).exists() for name in record.extras)
    return record if complete else None


def _is_requested(present: SourceRecord, request: Request) -> bool:
    return not request.force and present.validation == request.validation


def _refuse_foreign(folder: Path) -> None:
    """Raise DataError if the folder has databases and no record of ours."""
    if not (folder / FILE_NAME).exists() and any((folder / name).exists() for name in _CONTENT):
        raise DataError(
            f"{folder} holds databases that another program wrote; move them away, or replace them "
            "with --again"
        )


def _find_local(request: Request, reporter: Reporter) -> Source | None:
    if request.name == "digits":
        return make_digits_source()
    collection = COLLECTIONS[request.name]
    homes = (*request.homes, request.output)
    source = find_local_source(collection, request.data_dir, homes, reporter)
    if source is not None:
        reporter.note(f"{collection.title} {source.origin}")
    return source


def _fetch_remote(request: Request, reporter: Reporter) -> Source:
    """Download; if that is impossible, fall back on embedded data or report what to do."""
    collection = COLLECTIONS[request.name]
    if request.download:
        try:
            return download_source(collection, request.folder / "raw", reporter)
        except UnreachableError as error:
            reason = f"no mirror could be reached ({error})"
    else:
        reason = "downloading was not allowed"
    trouble = f"{collection.title} is not on this machine and {reason}"
    home = collection.remotes[0].urls[0].rpartition("/")[0]
    remedy = (
        f"put {', '.join(remote.name for remote in collection.remotes)} from {home}/ into "
        f"{request.folder}, or name their folder with --data-dir, or in CAFFE_EXT_DATA"
    )
    # Even incomplete databases of MNIST are not replaced by the digits.
    held = read_record(request.folder)
    if request.name != "mnist" or (held and not held.embedded):
        raise DataError(f"{trouble}; {remedy}")
    reporter.warn(
        f"{trouble}; {digits.TITLE} are used instead, in {request.folder}: results on them are "
        f"NOT results on MNIST. For MNIST {remedy}, then run this again"
    )
    return make_digits_source()


def _make(request: Request, source: Source, reporter: Reporter) -> SourceRecord:
    """Read the source, write everything to a hidden folder, and exchange it for the old content."""
    data_set = source.load(reporter)
    if data_set.remark and not source.embedded:
        reporter.warn(data_set.remark)
    splits = data_set.keep_apart(request.validation)
    # The digits, alone or in MNIST's place, are written as MNIST is.
    collection = COLLECTIONS.get(request.name, MNIST)
    extras = ((MEAN_FILE,) if collection.writes_mean else ()) + (
        (IDX_FOLDER,) if source.embedded else ()
    )
    record = SourceRecord(
        data_set=request.name,
        holds=source.holds,
        origin=source.origin,
        published=data_set.published,
        remark=data_set.remark,
        embedded=source.embedded,
        files=source.files,
        validation=request.validation,
        images={f"{split}_lmdb": len(images) for split, images in splits.items()},
        extras=extras,
    )
    with stage_content(request.folder, _CONTENT, FILE_NAME, UNFINISHED) as making:
        for split, images in splits.items():
            write_database(making / f"{split}_lmdb", images, collection.key_digits, reporter)
        if MEAN_FILE in extras:
            write_mean_image(making / MEAN_FILE, compute_mean_image(splits["train"]))
        if IDX_FOLDER in extras:
            (making / IDX_FOLDER).mkdir()
            for name, content in digits.make_idx_files(data_set).items():
                (making / IDX_FOLDER / name).write_bytes(content)
        (making / FILE_NAME).write_bytes(record.to_bytes())
    return record
