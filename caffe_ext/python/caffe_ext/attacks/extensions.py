"""Attacks from outside this package: modules that register them are imported by name or file.

A module registers its attacks when it is imported (registry.register_attack). Installed packages
name such modules as entry points, and they are imported automatically:

    [project.entry-points."caffe_ext.attacks"]
    mine = "my_package.attacks"
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

ENTRY_POINTS = "caffe_ext.attacks"


class ExtensionError(Exception):
    """A module that cannot be imported; the text is one sentence for the user."""


def load_extensions(names: Sequence[str] = ()) -> None:
    """Import the modules of all entry points, and these, each a module's name or a file.

    A file's folder is added to sys.path, so that worker processes can import the module by name.
    Raises ExtensionError.
    """
    for point in entry_points(group=ENTRY_POINTS):
        _import(point.module, f"the entry point {point.name} = {point.value}")
    for name in names:
        path = Path(name).resolve()
        if path.suffix == ".py":
            _import_file(path, name)
        else:
            _import(name, f"the module {name}")


def _import_file(path: Path, name: str) -> None:
    """Import a file as a module of its folder."""
    if not path.is_file():
        raise ExtensionError(f"{name} is not a file")
    if not path.stem.isidentifier():
        raise ExtensionError(f"{name} cannot be imported: rename it to letters, digits and _")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    importlib.invalidate_caches()
    _import(path.stem, name)
    found = getattr(sys.modules[path.stem], "__file__", None)
    if found is None or Path(found).resolve() != path:
        raise ExtensionError(f"{name} has the name of another module, {path.stem}; rename it")


def _import(module: str, what: str) -> None:
    try:
        importlib.import_module(module)
    except Exception as error:
        raise ExtensionError(
            f"{what} cannot be imported: {type(error).__name__}: {error}"
        ) from error
