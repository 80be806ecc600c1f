"""Load libcaffe_ext into pycaffe, as soon as that is imported."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@cache
def load_plugin() -> Path:
    """Load libcaffe_ext once, from $CAFFE_EXT_LIBRARY or from beside pycaffe; return its path.

    A build and an installation have python/caffe and lib in one folder; a wheel has caffe and
    caffe_ext/lib. Raises ImportError if pycaffe or the library is missing.
    """
    hiding = find_module_hiding_pycaffe()
    if hiding is not None:
        raise ImportError(": ".join(describe_hiding_module(hiding)))
    import caffe  # noqa: PLC0415  (this is what this module is for)

    given = os.environ.get("CAFFE_EXT_LIBRARY")
    python = Path(caffe.__file__).parents[1]
    in_wheel = python / "caffe_ext" / "lib"
    folder = in_wheel if in_wheel.is_dir() else python.parent / "lib"
    path = Path(given) if given else folder / "libcaffe_ext.so"
    if not path.is_file():
        raise ImportError(
            f"the plug-in {path} is missing: build it with `make`, or name it in CAFFE_EXT_LIBRARY"
        )
    # Local: made global, the HDF5 of the system would take the place of the one that h5py brings.
    ctypes.CDLL(str(path), ctypes.RTLD_LOCAL)
    return path


def find_module_hiding_pycaffe() -> Path | None:
    """Return the file or folder of a module `caffe` that is not pycaffe; None: there is none."""
    loaded = sys.modules.get("caffe")
    spec = loaded.__spec__ if loaded else PathFinder.find_spec("caffe")
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if any(next(folder.glob("_caffe*.so"), None) for folder in folders):
        return None
    return folders[0] if folders else Path(spec.origin or "caffe")


def describe_hiding_module(hiding: Path) -> tuple[str, str]:
    """Return what is wrong with such a module, and what to do about it."""
    return (
        f"{hiding} is imported in place of pycaffe",
        f"rename it, or take {hiding.parent} off PYTHONPATH",
    )


def load_with_caffe() -> None:
    """Load the plug-in now if pycaffe is imported already, else right after it is imported."""
    if "caffe" in sys.modules:
        load_plugin()
    elif not any(isinstance(finder, _CaffeFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _CaffeFinder())


class _CaffeFinder(MetaPathFinder):
    """Finds `caffe` where Python's own finder does, once, and loads the plug-in after it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the specification of `caffe`, None for any other module."""
        if fullname != "caffe":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _CaffeLoader(spec.loader)
        return spec


class _CaffeLoader(Loader):
    """Loads pycaffe by its own loader, and the plug-in into it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as its own loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, then load the plug-in."""
        spec = module.__spec__
        module.__loader__ = self._loader
        if spec is not None:
            spec.loader = self._loader
        self._loader.exec_module(module)
        load_plugin()
