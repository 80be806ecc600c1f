"""Train robust networks in BVLC Caffe, and measure how fragile a Caffe model is.

Importing this package loads the plug-in, ``libcaffe_ext``, into pycaffe: from then on Caffe knows
the solver type "BANG"::

    import caffe, caffe_ext

    solver = caffe.get_solver("solvers/lenet_bang.prototxt")
    solver.step(1)
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import caffe

__version__ = "0.1.0"


def _load_plugin() -> Path:
    """Load libcaffe_ext, from $CAFFE_EXT_LIBRARY or from beside pycaffe; return its path.

    A build and an installation have the same layout: python/caffe and lib in one folder.
    """
    given = os.environ.get("CAFFE_EXT_LIBRARY")
    path = Path(given) if given else Path(caffe.__file__).parents[2] / "lib" / "libcaffe_ext.so"
    if not path.is_file():
        raise ImportError(
            f"the plug-in {path} is missing: build it with `make`, or name it in CAFFE_EXT_LIBRARY"
        )
    # Local: made global, the HDF5 of the system would take the place of the one that h5py brings.
    ctypes.CDLL(str(path), ctypes.RTLD_LOCAL)
    return path


PLUGIN = _load_plugin()
"""Path of the plug-in that was loaded."""
