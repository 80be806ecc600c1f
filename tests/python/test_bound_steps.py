"""Bounds between the radii that were tried."""

import numpy as np

from caffe_ext.certification.steps import make_band


def test_between_two_radii_the_weaker_statement_holds() -> None:
    radii, lower, upper = make_band([0, 4, 12], [95, 60, 0], [95, 65, 5])
    assert radii.tolist() == [0, 4, 4, 12]
    assert lower.tolist() == [60, 60, 0, 0]
    assert upper.tolist() == [95, 95, 65, 65]
    at_eight = [float(np.interp(8, radii, bound)) for bound in (lower, upper)]
    assert at_eight == [0, 65]
