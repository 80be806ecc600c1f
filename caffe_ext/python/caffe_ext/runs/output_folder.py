"""The folder for results: whether it is writable, and that no other process uses it."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from caffe_ext.errors import RecordError
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.storage.lock import lock_folder


def check_writable(folder: Path, option: str = "--output") -> None:
    """Raise OSError, which names the option, unless the folder is writable or can be created.

    Nothing is created.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise OSError(f"{option} {folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OSError(f"{option} {folder}: {there} cannot be written")


def claim_output(folder: Path) -> AbstractContextManager[int]:
    """Create the folder, and be the only process that writes into it, or raise RecordError."""
    busy = f"another process is writing into {shorten_path(folder)}; wait for it"
    return lock_folder(folder, RecordError(busy))
