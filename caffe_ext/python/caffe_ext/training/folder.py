"""The files in the folder of a training run, and which of them can be reused.

solver.prototxt, network.prototxt   the complete settings, for `caffe train` alone
train.log                           the log of `caffe train`
training.json                       the digest of the settings, and the progress
*_iter_N.caffemodel, .solverstate   Caffe's snapshots
earlier/                            runs with other settings, kept in case these are used again
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from caffe_ext.errors import RecordError
from caffe_ext.reporting import Reporter
from caffe_ext.storage.atomic import sync_file, write_json
from caffe_ext.storage.json_file import Sha256, read_json
from caffe_ext.storage.lock import lock_folder
from caffe_ext.training.settings import TrainingError
from caffe_ext.training.snapshots import is_whole_state, is_whole_weights

_FORMAT = 1
_RECORD = "training.json"
_EARLIER = "earlier"
_STATE = re.compile(r"_iter_(\d+)\.solverstate(?:\.h5)?$")


@dataclass(frozen=True)
class Progress:
    """The progress of the run in a folder.

    settings  the digest of its settings
    finished  whether it reached its end
    seconds   that Caffe has run, all parts together
    started   when a part started (Unix time) whose end has not been recorded yet
    devices   where the parts were computed, as Device.describe() says; each once
    """

    settings: Sha256
    finished: bool = False
    seconds: Annotated[float, Meta(ge=0)] = 0.0
    started: float | None = None
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _SavedRecord(Progress):
    """Content of training.json."""

    format: Literal[1]

    @property
    def progress(self) -> Progress:
        """Return it without the format."""
        return Progress(self.settings, self.finished, self.seconds, self.started, self.devices)


@dataclass(frozen=True)
class TrainingFolder:
    """The folder of a training run."""

    path: Path

    @property
    def log(self) -> Path:
        """Return the path of Caffe's log."""
        return self.path / "train.log"

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Create the folder, and be the only process training in it; yield the lock's descriptor.

        A process that inherits the descriptor keeps the lock as long as it lives.
        Raises TrainingError if the folder cannot be written or is in use.
        """
        busy = f"another process is training in {self.path}; wait for it or end it"
        with ExitStack() as stack:
            try:
                descriptor = stack.enter_context(lock_folder(self.path, TrainingError(busy)))
                probe = self.path / ".probe"
                probe.touch()
                probe.unlink()
            except OSError as error:
                raise TrainingError(f"cannot write into {self.path}: {error.strerror}") from error
            yield descriptor

    def claim(self, settings: str, *, again: bool, reporter: Reporter | None = None) -> Progress:
        """Return the progress with these settings; move runs with other settings out of the way.

        again     forget a finished run
        reporter  is told where a run with other settings is kept

        Raises TrainingError if there are weights or logs without a record.
        """
        present = self._read()
        if present is not None and present.settings != settings:
            kept = self._find_earlier(present.settings)
            self._move_contents(self.path, kept)
            present = None
            if reporter is not None:
                reporter.note(
                    f"{self.path.name}: the settings, or the paths of files, are not those of the "
                    f"training that was here; it is kept in {kept}"
                )
        earlier = self._find_earlier(settings)
        if present is None and earlier.is_dir():
            # Some are here already if a move was interrupted; a file in both is another run's.
            names = {path.name for path in self._list_contents(earlier)}
            self._refuse(path for path in self._list_contents(self.path) if path.name in names)
            self._move_contents(earlier, self.path)
            present = self._read()
        if present is None:
            # The record of a run is the first to be written, and the last to be removed.
            self._refuse(self._list_contents(self.path))
        if present is None or (again and present.finished):
            self._clear()
            present = Progress(settings)
            self.write(present)
        if present.started is not None:
            # The process that watched this part was killed. It ran until it last wrote its log.
            end = self.log.stat().st_mtime if self.log.is_file() else present.started
            seconds = present.seconds + max(0.0, end - present.started)
            present = replace(present, seconds=seconds, started=None)
        return present

    def write(self, progress: Progress) -> None:
        """Write the record, complete or not at all; raises TrainingError if that fails.

        The log, which has the results, is on the disk before the record says "finished".
        """
        path = self.path / _RECORD
        try:
            if progress.finished:
                sync_file(self.log)
            write_json(path, {"format": _FORMAT} | asdict(progress))
        except OSError as error:
            raise TrainingError(
                f"cannot write {error.filename or path}: {error.strerror}"
            ) from error

    def find_newest_state(self, reporter: Reporter | None = None) -> tuple[int, Path] | None:
        """Return the iteration and the path of the last complete solver state, if any.

        reporter  is warned of those that are skipped
        """
        states = sorted(
            (int(found[1]), path)
            for path in self.path.iterdir()
            if (found := _STATE.search(path.name))
        )
        for iteration, path in reversed(states):
            if is_whole_state(path):
                return iteration, path
            if reporter is not None:
                reporter.warn(
                    f"{path} or its weights are damaged or incomplete; not resuming from it"
                )
        return None

    def find_weights(self, iteration: int) -> Path | None:
        """Return the path of the weights after an iteration, if they exist and are complete."""
        found = sorted(self.path.glob(f"*_iter_{iteration}.caffemodel*"))
        return next(filter(is_whole_weights, found), None)

    def _read(self) -> Progress | None:
        try:
            return read_json(self.path / _RECORD, _SavedRecord, "").progress
        except (FileNotFoundError, RecordError):
            return None

    def _find_earlier(self, settings: str) -> Path:
        return self.path / _EARLIER / settings[:12]

    def _list_contents(self, folder: Path) -> list[Path]:
        """Return the files of a run in a folder, the record last."""
        names = {_RECORD, self.log.name, "solver.prototxt"}
        found = [
            path
            for path in folder.iterdir()
            if path.name in names
            or re.fullmatch(r"network\d*\.prototxt", path.name)
            or re.search(r"_iter_\d+\.(caffemodel|solverstate)(\.h5)?$", path.name)
        ]
        return sorted(found, key=lambda path: (path.name == _RECORD, path.name))

    def _refuse(self, foreign: Iterable[Path]) -> None:
        """Raise TrainingError if there are such files."""
        for path in foreign:
            raise TrainingError(
                f"{self.path} holds weights or logs that this program did not write, or its "
                f"record {_RECORD} is damaged ({path.name}): choose another folder, or move them "
                "away"
            )

    def _move_contents(self, old: Path, new: Path) -> None:
        new.mkdir(parents=True, exist_ok=True)
        # The record goes last, so that a run without one is not taken for another.
        for path in self._list_contents(old):
            path.replace(new / path.name)
        if old != self.path:
            old.rmdir()

    def _clear(self) -> None:
        for path in self._list_contents(self.path):
            path.unlink()
