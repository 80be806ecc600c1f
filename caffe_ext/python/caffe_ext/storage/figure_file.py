"""Figures as files: equal figures give equal files."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from caffe_ext.storage.atomic import replace_file


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's suffix, complete or not at all."""
    kind = path.suffix.removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {}
    # Without a date and random names, equal results give equal files.
    with rc_context({"svg.hashsalt": "caffe_ext"}), replace_file(path) as file:
        figure.savefig(file, format=kind, dpi=150, metadata=metadata)


def save_png_and_svg(figure: Figure, path: Path) -> list[Path]:
    """Write a figure in both formats, path.png and path.svg; return the files."""
    for file in _list_files(path):
        save_figure(figure, file)
    return _list_files(path)


def remove_png_and_svg(path: Path) -> None:
    """Remove what save_png_and_svg() has written, if it is there."""
    for file in _list_files(path):
        file.unlink(missing_ok=True)


def _list_files(path: Path) -> list[Path]:
    return [path.with_suffix(suffix) for suffix in (".png", ".svg")]
