"""Files that are replaced as a whole, or stay as they were: written beside, then renamed.

The new content goes into `.NAME.partial` in the same folder, is synced to the disk, and takes the
file's place by a rename, which is synced as well. So whatever happens (an exception, a full disk,
a kill, a power cut), the file has either its old content or its new one.

The partial file is locked while it is written: two processes that write one file never share it
(the second one takes `.NAME.1.partial`), and the one of a killed process is reused.
"""

import errno
import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from caffe_ext.storage.regular_file import require_regular_file

PARTIAL = ".partial"
# A file's name may have 255 bytes on most file systems, in any encoding.
_LONGEST_NAME = 255
# The errors of file systems that cannot sync a folder.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)
# Of indented JSON: a list of numbers, and what is between two of them.
_NUMBERS = re.compile(r"\[\n *((?:[-+.\w]+,\n *)*[-+.\w]+)\n *\]")
_BREAK = re.compile(r",\n *")


@contextmanager
def replace_file(path: Path, *, sync: bool = True) -> Iterator[BinaryIO]:
    """Yield an empty file, open for reading and writing, that replaces `path` at the end.

    sync  sync to the disk before and after the rename, so that a power cut loses nothing; without
          it, a power cut may leave an empty file

    On any exception the partial file is removed and `path` is as it was. Raises OSError with the
    name of `path`, whatever went wrong, and for a device or a pipe, which root could replace.
    """
    try:
        if not path.is_dir():  # of which rename() says so itself
            require_regular_file(path)
        partial, file = _open_partial(path)
        try:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            # While it is locked: afterwards the name may be another process's.
            with suppress(OSError):
                partial.unlink()
            with suppress(OSError):
                file.close()
            raise
        file.close()
        if sync:
            sync_folder(path.parent)
    except OSError as error:
        # What write() and close() raise names no file, what rename() raises names the partial one.
        if error.filename == str(path):
            raise
        raise name_file(error, path) from error


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file, as replace_file() does."""
    with replace_file(path, sync=sync) as file:
        file.write(content)


def write_text(path: Path, text: str, *, sync: bool = True) -> None:
    """Write a file in UTF-8, as replace_file() does.

    Half surrogates, which the names of files that are not UTF-8 have, are written as `\\udcff`.
    """
    write_bytes(path, _encode_text(text), sync=sync)


def write_json(path: Path, content: Any, *, indent: int | None = 2, sync: bool = True) -> None:
    """Write a JSON file, as replace_file() does; ValueError for NaN and infinities."""
    write_bytes(path, encode_json(content, indent=indent), sync=sync)


def encode_json(content: Any, *, indent: int | None = 2) -> bytes:
    """Return JSON in UTF-8 with a final line feed; ValueError for NaN and infinities.

    With an indent, a list of numbers is on one line.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    # No text has a line feed in it: JSON escapes them.
    text = _NUMBERS.sub(lambda found: f"[{_BREAK.sub(', ', found[1])}]", text)
    return _encode_text(text + "\n")


def move_into_place(whole: Path, path: Path) -> None:
    """Give a finished file its name, replacing any other, and sync both.

    Raises OSError with the name of `path`; `whole` is kept in that case.
    """
    try:
        if not path.is_dir():
            require_regular_file(path)
        _sync_entry(whole, os.O_RDONLY)
        whole.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise name_file(error, path) from error


def sync_file(path: Path) -> None:
    """Sync a file that another process has written; OSError names it."""
    try:
        _sync_entry(path, os.O_RDONLY)
    except OSError as error:
        raise name_file(error, path) from error


def sync_folder(folder: Path) -> None:
    """Sync a folder's list of entries, if its file system can do that."""
    try:
        _sync_entry(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def name_file(error: OSError, path: Path) -> OSError:
    """Return an error of the same kind that names this file."""
    if error.errno is None:
        return OSError(f"{path}: {error}")
    return OSError(error.errno, error.strerror, str(path))


def _sync_entry(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encode_text(text: str) -> bytes:
    """Return a text in UTF-8; in JSON, `\\udcff` for a half surrogate reads as just that."""
    return text.encode("utf-8", "backslashreplace")


def _open_partial(path: Path) -> tuple[Path, BinaryIO]:
    """Return a partial file that no other process has, empty and locked, and its name."""
    for number in count():
        partial = path.with_name(_name_partial(path.name, number))
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it before may have given it its name, or removed it, in the meantime.
            if os.path.samestat(os.fstat(descriptor), os.lstat(partial)):
                os.ftruncate(descriptor, 0)
                return partial, os.fdopen(descriptor, "w+b")
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise AssertionError("count() has no end")


def _name_partial(name: str, number: int) -> str:
    """Return the hidden name of a partial file; of long names only as much as fits."""
    suffix = f".{number}{PARTIAL}" if number else PARTIAL
    kept = os.fsencode(name)[: _LONGEST_NAME - 1 - len(suffix)]
    return f".{os.fsdecode(kept)}{suffix}"
