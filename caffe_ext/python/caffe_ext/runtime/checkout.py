"""Where prototxt/, solvers/, data/ and build/ are, which the programs name by default."""

from pathlib import Path


def _find_root() -> Path:
    """Return the checkout that this package is installed from in place, else the current folder."""
    checkout = Path(__file__).resolve().parents[4]
    named = ("prototxt", "solvers")
    return checkout if all((checkout / name).is_dir() for name in named) else Path.cwd()


ROOT = _find_root()
_SHARE = Path(__file__).resolve().parents[1] / "share"
NETWORKS = _SHARE if _SHARE.is_dir() else ROOT
"""Where prototxt/ and solvers/ come from: a wheel has its own."""
DATA = ROOT / "data"


def shorten_path(path: Path) -> str:
    """Return a path as messages and records have it: relative if it lies in the checkout."""
    path = path.absolute()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def shorten_paths(text: str) -> str:
    """Return a text that holds paths as messages and records have it."""
    return text.replace(f"{ROOT}/", "")
