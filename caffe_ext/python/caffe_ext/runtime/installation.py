"""Where the package was installed from, and how to repair that."""

from pathlib import Path


def is_wheel() -> bool:
    """Tell whether the package is from a wheel, which has Caffe in it."""
    return (Path(__file__).parents[1] / "lib").is_dir()


def explain_reinstallation() -> str:
    """Return how to get an installation that works."""
    if is_wheel():
        return "install the wheel again: pip install --force-reinstall caffe_ext-*.whl"
    return "run `make`, then `. build/venv/bin/activate`"
