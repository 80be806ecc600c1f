"""Figures as files: equal figures give equal files."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from caffe_ext.storage.atomic import replace_file


def save_figure(figure: Figure | None, path: Path) -> None:
    """Write a figure in the format of the path's suffix, complete or not at all.

    Without a figure, remove that of earlier results, if there is one.
    """
    if figure is None:
        path.unlink(missing_ok=True)
        return
    kind = path.suffix.removeprefix(".")
    metadata = {"Date": None} if kind == "svg" else {}
    # Without a date and random names, equal results give equal files.
    with rc_context({"svg.hashsalt": "caffe_ext"}), replace_file(path) as file:
        figure.savefig(file, format=kind, dpi=150, metadata=metadata)


def save_png_and_svg(figure: Figure | None, path: Path) -> list[Path]:
    """Write a figure in both formats, as save_figure() does; return path.png and path.svg."""
    files = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    for file in files:
        save_figure(figure, file)
    return files
