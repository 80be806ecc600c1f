"""Switch the engine on or off: faster layers, for the CPU and for GPUs.

from caffe_ext.runtime import engine
engine.enable(False)          # nets made from now on run on Caffe's own code

See include/caffe_ext/engine/engine.hpp.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from caffe_ext.runtime.native import library


def is_enabled() -> bool:
    """Return whether nets made from now on run on the engine.

    By default they do, unless the environment variable CAFFE_EXT_ENGINE is 0.
    """
    return bool(library.caffe_ext_engine_enabled())


def enable(on: bool = True) -> None:
    """Switch the engine on or off for nets made from now on; existing nets stay as they are.

    OpenBLAS uses one thread while it is on, and as many as before while it is off.
    """
    library.caffe_ext_set_engine(int(on))


@contextmanager
def switch(*, on: bool) -> Iterator[None]:
    """Switch the engine on or off for nets that are made inside a `with`."""
    before = is_enabled()
    enable(on)
    try:
        yield
    finally:
        enable(before)


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Use at most this many threads inside a `with`, in all nets."""
    before = get_threads()
    set_threads(min(count, before))
    try:
        yield
    finally:
        set_threads(before)


def get_vector_lanes() -> int:
    """Return how many floats convolutions compute at once: 16 (AVX-512), 8 (AVX2) or 0 (neither).

    As many as the processor can, or as the environment variable CAFFE_EXT_VECTOR_LANES says.
    """
    return int(library.caffe_ext_vector_lanes())


def get_threads() -> int:
    """Return how many threads the engine uses."""
    return int(library.caffe_ext_threads())


def set_threads(count: int) -> None:
    """Set how many threads the engine uses, in all nets; 0: what the environment says.

    That is OMP_NUM_THREADS, else OPENBLAS_NUM_THREADS, else one for each core. Sums of gradients
    are identical in every run with the same number of threads. Raises ValueError for
    another number.
    """
    if count < 0:
        raise ValueError(f"the number of threads must be at least 0, not {count}")
    if count >= 1 << 31:
        raise ValueError(f"{count} threads are more than any system has")
    library.caffe_ext_set_threads(count)
