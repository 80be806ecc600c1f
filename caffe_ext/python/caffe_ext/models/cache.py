"""The last model that this thread has loaded: tasks on the same model need not load it again."""

from collections.abc import Hashable
from threading import local

from caffe_ext.models.base import Model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.runtime.device import current_device


class _ThreadCache(local):
    """What each thread holds: a net serves one at a time."""

    def __init__(self) -> None:
        self.models: dict[Hashable, Model] = {}


_held = _ThreadCache()


def load_cached(description: LoadableModel, batch_size: int) -> Model:
    """Return the model, on the device that Caffe is on; that of the last call if it is the same.

    At most one model is held in each thread. A changed file (its size or time) is another one.
    Raises as the model's own load().
    """
    key = (description.cache_key, batch_size, current_device())
    if key not in _held.models:
        _held.models.clear()
        _held.models[key] = description.load(batch_size)
    return _held.models[key]


def clear_cache() -> None:
    """Let go of the model that this thread holds."""
    _held.models.clear()
