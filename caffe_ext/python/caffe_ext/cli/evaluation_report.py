"""What evaluate.py prints at its end."""

from pathlib import Path
from typing import TYPE_CHECKING

from caffe_ext.runtime.checkout import shorten_path

if TYPE_CHECKING:
    from caffe_ext.evaluation.report_contents import Report


def print_assessment(report: "Report", folder: Path) -> None:
    """Print the figures, and where the report is."""
    from caffe_ext.evaluation.report import PAGE, as_text  # noqa: PLC0415  (it loads Caffe)

    print(f"\n{as_text(report.models, report.certificates)}")
    print(f"\nThe report: {shorten_path(folder / PAGE)}")
