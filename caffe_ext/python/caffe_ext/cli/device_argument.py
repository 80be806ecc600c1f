"""--gpu, the same for all programs that compute with networks."""

# The package, which loads Caffe, is imported late: --help is instant.
# ruff: noqa: PLC0415

import argparse
from typing import Any


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Add --gpu."""
    parser.add_argument(
        "--gpu",
        type=parse_gpu_number,
        nargs="?",
        const=0,
        metavar="N",
        help="compute on GPU N; without N on GPU 0 (default: on the CPU)",
    )


def parse_gpu_number(text: str) -> int:
    """Return the number of a GPU."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"the number of a GPU must be 0, 1, ..., not {text!r}")
    return int(text)


def use_device(arguments: argparse.Namespace) -> None:
    """Let this thread's Caffe compute where the arguments say.

    Raises OSError, with a sentence for the user, for a GPU that cannot be used.
    """
    number: Any = getattr(arguments, "gpu", None)
    if number is None:
        return
    from caffe_ext.errors import DeviceError
    from caffe_ext.runtime.device import Device

    try:
        Device(number).use()
    except DeviceError as error:
        raise OSError(f"--gpu {number}: {error}") from error
