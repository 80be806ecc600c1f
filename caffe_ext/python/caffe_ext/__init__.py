"""Train robust networks in BVLC Caffe, and measure how fragile a Caffe model is.

Importing this package loads the plug-in, ``libcaffe_ext``, into pycaffe: from then on Caffe knows
the solver type "BANG"::

    import caffe, caffe_ext

    solver = caffe.get_solver("solvers/lenet_bang.prototxt")
    solver.step(1)

The plug-in is loaded as soon as both `caffe` and `caffe_ext` are imported, in either order:
commands that need no network, such as `caffe-ext --help`, do not wait for Caffe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caffe_ext import _plugin

if TYPE_CHECKING:
    from pathlib import Path

    PLUGIN: Path

__version__ = "0.1.0"

_plugin.load_with_caffe()


def __getattr__(name: str) -> Any:
    """Return PLUGIN, the path of the plug-in; loads the plug-in if necessary."""
    if name == "PLUGIN":
        return _plugin.load_plugin()
    raise AttributeError(f"module 'caffe_ext' has no attribute {name!r}")
