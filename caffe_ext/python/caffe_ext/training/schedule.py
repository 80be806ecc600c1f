"""How long the networks of the papers are trained, and when they are tested."""

from pathlib import Path

from caffe_ext.data import DataError, PreparedFolder

_TEST_BATCH, _TEST_INTERVAL = 100, 500
"""Of the networks in prototxt/, and of the solvers in solvers/."""


def format_schedule(iterations: int | None, data: PreparedFolder, network: Path) -> str:
    """Return the number of iterations and the times of tests, as protobuf text.

    iterations  None: as in the solver file
    network     tests in batches of 100 images

    Each test covers every test image once. Raises DataError if its batches cannot.
    """
    images = data.record.images["test_lmdb"]
    if images % _TEST_BATCH:
        raise DataError(
            f"{data.folder} has {images:,} test images, which {network.name} cannot cover exactly "
            f"with its batches of {_TEST_BATCH}"
        )
    overrides = [f"test_iter: {images // _TEST_BATCH}"]
    if iterations is not None:
        overrides.append(f"max_iter: {iterations}")
        if iterations % _TEST_INTERVAL:
            overrides.append(f"test_interval: {iterations}")  # to test at the end
    return " ".join(overrides)
