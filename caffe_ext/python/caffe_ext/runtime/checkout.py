"""Where prototxt/, solvers/, data/ and build/ are, the defaults of the programs."""

from pathlib import Path


def _find_root() -> Path:
    """Return the checkout of an editable installation, otherwise the current folder."""
    checkout = Path(__file__).resolve().parents[4]
    named = ("prototxt", "solvers")
    return checkout if all((checkout / name).is_dir() for name in named) else Path.cwd()


ROOT = _find_root()
_SHARE = Path(__file__).resolve().parents[1] / "share"
NETWORKS = _SHARE if _SHARE.is_dir() else ROOT
"""Where prototxt/ and solvers/ come from: a wheel has its own."""
DATA = ROOT / "data"


def shorten_path(path: Path) -> str:
    """Return a path as messages and records show it: relative if it is in the checkout."""
    path = path.absolute()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def shorten_paths(text: str) -> str:
    """Return a text with its paths shortened as in messages and records."""
    return text.replace(f"{ROOT}/", "")
