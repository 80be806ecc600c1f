"""Arrays in NumPy's files, .npy and .npz, which may hold something else than their name says."""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


def load_array(file: Path | BinaryIO, *, mapped: bool = False) -> NDArray[Any]:
    """Return the array of a .npy file, given as its path or open.

    mapped  leave it on the disk, and read what is asked for

    Raises ValueError for a .npz archive with that name, and as np.load() does.
    """
    array = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("it is an archive of arrays (.npz)")
    return array


def read_member(archive: Any, name: str) -> NDArray[Any]:
    """Return an array of a .npz file, as np.load() opens it; ValueError for other content."""
    array = archive[name]
    if not isinstance(array, np.ndarray):  # bytes, if NumPy's header is missing
        raise ValueError(f"'{name}' is not an array")
    return array
