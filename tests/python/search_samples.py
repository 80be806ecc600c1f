"""Random and given images and directions, for the tests of the line search and the lattice."""

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]
QUICK = settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
IMAGES = arrays(np.uint8, st.tuples(st.integers(0, 7), st.just(1), st.just(1), st.just(6)))
SIZES = st.sampled_from([0.0, 1.0, 1e-3, 1e-12, 1e-30, 1e-38, 1e-45, 1e30, 3e38])
VALUES = st.tuples(SIZES, st.floats(-1, 1, width=32)).map(lambda pair: pair[0] * pair[1])


def along(*directions: list[float]) -> Floats:
    """Return directions (N, 1, 1, values)."""
    return np.array(directions, np.float32)[:, None, None, :]


@st.composite
def searches(draw: st.DrawFn) -> tuple[Images, Floats]:
    """Draw images, and directions of all magnitudes."""
    images = draw(IMAGES)
    same = draw(st.booleans())
    values = st.floats(-1, 1, width=32) if same else VALUES
    drawn = draw(st.lists(values, min_size=images.size, max_size=images.size))
    return images, np.array(drawn, np.float32).reshape(images.shape)
