"""Records of attacks, for test_records*.py."""

import numpy as np
from numpy.typing import NDArray

from caffe_ext.runs.records import COLUMNS, AttackRecords, make_empty_columns

KINDS = {name: column.dtype for name, column in make_empty_columns(0).items()}


def made(count: int, found: int, seed: int = 0) -> tuple[AttackRecords, NDArray[np.uint8]]:
    """Return records of `count` images, `found` of them with an adversarial."""
    random = np.random.default_rng(seed)
    columns = make_empty_columns(count)
    columns["indices"] = np.arange(count)
    columns["l2"] = random.normal(size=count)
    columns["attempted"][:] = True
    columns["found"][random.permutation(count)[:found]] = True
    columns["linf"][columns["found"]] = 7.0
    images = random.integers(0, 256, (found, 3, 4, 5), dtype=np.uint8)
    return AttackRecords(**columns), images


def equal(one: AttackRecords, other: AttackRecords) -> None:
    """Assert that records are the same, types as well."""
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(other, name).dtype == KINDS[name]
