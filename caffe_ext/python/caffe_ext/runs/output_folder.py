"""The folder for results: whether it is writable, and that no other process uses it."""

import os
from collections.abc import Iterable
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


def check_entries(folder: Path, folders: Iterable[str], files: Iterable[str]) -> None:
    """Raise OSError if something else has the name of what will be written into a folder.

    folders, files  names in it
    """
    paths = [folder / name for name in folders]
    others = [(path, "a folder") for path in paths if path.exists() and not path.is_dir()]
    others += [(folder / name, "a file") for name in files if (folder / name).is_dir()]
    if others:
        path, what = others[0]
        raise OSError(f"{shorten_path(path)} is not {what}: choose another --output, or remove it")


def claim_output(folder: Path) -> AbstractContextManager[int]:
    """Create the folder, and be the only process that writes into it, or raise RecordError."""
    busy = f"another process is writing into {shorten_path(folder)}; wait for it"
    return lock_folder(folder, RecordError(busy))
