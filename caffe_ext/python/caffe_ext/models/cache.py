"""Cache of the model that each thread has loaded last, for tasks on the same model."""

from collections.abc import Hashable
from threading import local

from caffe_ext.models.base import Model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.runtime.device import get_current_device


class _ThreadCache(local):
    """The model of each thread: a net serves one thread at a time."""

    def __init__(self) -> None:
        self.models: dict[Hashable, Model] = {}


_held = _ThreadCache()


def load_cached(description: LoadableModel, batch_size: int) -> Model:
    """Return the model, on Caffe's current device; from the cache if it is that of the last call.

    Each thread holds at most one model. A file with a new size or time is a new model. Raises the
    same as the model's load().
    """
    key = (description.cache_key, batch_size, get_current_device())
    if key not in _held.models:
        _held.models.clear()
        _held.models[key] = description.load(batch_size)
    return _held.models[key]


def clear_cache() -> None:
    """Release the model that this thread holds."""
    _held.models.clear()
