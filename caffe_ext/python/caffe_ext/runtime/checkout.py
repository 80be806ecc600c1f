"""Where prototxt/, solvers/, data/ and build/ are, the defaults of the programs."""

import os
from pathlib import Path

_NETWORKS = ("prototxt", "solvers")


def _has_networks(folder: Path) -> bool:
    return all((folder / name).is_dir() for name in _NETWORKS)


def _find_checkout() -> Path | None:
    checkout = Path(__file__).resolve().parents[4]
    return checkout if _has_networks(checkout) else None


def _find_root() -> Path:
    here = Path.cwd()
    return here if CHECKOUT is None or _has_networks(here) else CHECKOUT


CHECKOUT = _find_checkout()
"""The checkout that this package belongs to; None if it was installed from a wheel."""
ROOT = _find_root()
"""The current folder if `caffe-ext init` has filled it, otherwise the checkout, if any."""
_SHARE = Path(__file__).resolve().parents[1] / "share"
NETWORKS = CHECKOUT or (_SHARE if _SHARE.is_dir() else ROOT)
"""Where prototxt/ and solvers/ come from: a wheel has its own."""
DATA = ROOT / "data"


def shorten_path(path: Path) -> str:
    """Return a path as messages and records show it: without `..`, and relative if it is below
    ROOT.
    """
    path = path.absolute()
    normal = Path(os.path.normpath(path))
    if normal.resolve() == path.resolve():  # no link goes elsewhere
        path = normal
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def locate_from_root(path: Path) -> str:
    """Return a path relative to ROOT, for the files that Caffe reads: it runs there."""
    return os.path.relpath(path, ROOT)


def shorten_paths(text: str) -> str:
    """Return a text with its paths shortened as in messages and records."""
    return text.replace(f"{ROOT}/", "")
