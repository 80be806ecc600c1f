"""Start a program of the package `caffe_ext` from this checkout, installed or not."""

import sys
from importlib import import_module
from pathlib import Path

PACKAGE_FOLDER = Path(__file__).resolve().parents[1] / "caffe_ext" / "python"


def launch(module: str) -> int:
    """Run the program caffe_ext.cli.<module> with the arguments; return its exit status."""
    sys.path.insert(0, str(PACKAGE_FOLDER))
    return int(import_module(f"caffe_ext.cli.{module}").main())
