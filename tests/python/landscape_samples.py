"""A transition state of the Iris net, to nine digits, and a small landscape."""

from pathlib import Path

import numpy as np

from caffe_ext.cli import study as program
from caffe_ext.studies.landscape.samples import load_iris_samples

SURFACE = load_iris_samples().make_surface(0.001)
STATE_WIDTHS = (4, 4, 2, 4, 3)
STATE_ENERGY = 0.06427588081
STATE_KINK = (0, 41, 2)
"""At which the loss falls on both sides."""
# fmt: off
STATE = np.array([
    0.394740519, -0.589195127, 0.968142646, 0.780596125, -0.711376189, 0.324897756, 0.847399719,
    -0.0926429736, -0.517574058, 0.927189225, 0.383803986, -1.07405133, 0.127934662, -0.181094244,
    0.631213333, 0.135082895, 0.200141702, 0.063080181, -0.0826890686, 0.212715745, -0.948730219,
    1.3908488, 1.30145758, 0.330217978, 0.658970278, 1.28668898, -0.159153802, -0.233864476,
    0.072970923, -0.0669867964, -1.82230755, 0.73686723, -0.240481238, 1.13701079, -0.10226118,
    0.176625588, -0.04331195, 1.01228024, 0.139721213, 0.675390776, -0.408975651, 0.036157533,
    -0.0348684686, 0.617332239, -0.735684138, 0.561052289, -0.0223742807, -1.38252749, 0.308909323,
    0.710086502, -0.556706922, 0.158276605, 1.41739596, -0.926241562, 0.0255976364, -0.00434536713,
    -0.135902325,
])
# fmt: on
SEARCH = ("--starts", "2", "--hops", "1", "--hidden", "6", "6", "--jobs", "1", "--pairs", "1")


def run(folder: Path, *arguments: object) -> int:
    """Run the program on a small net."""
    given = ("landscape", *SEARCH, "--output", folder, *arguments)
    return program.main([f"{it}" for it in given])
