"""The last model that this thread has loaded: tasks on the same model need not load it again."""

from threading import local

from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import ModelDescription
from caffe_ext.runtime.device import current_device

_Key = tuple[object, ...]


class _ThreadCache(local):
    """What each thread holds: a net serves one at a time."""

    def __init__(self) -> None:
        self.models: dict[_Key, Classifier] = {}


_held = _ThreadCache()


def load_cached(description: ModelDescription, batch_size: int) -> Classifier:
    """Return the model, on the device that Caffe is on; that of the last call if it is the same.

    At most one model is held in each thread. A changed file (its size or time) is another one.
    Raises as ModelDescription.load does.
    """
    key = _key(description, batch_size)
    if key not in _held.models:
        _held.models.clear()
        _held.models[key] = description.load(batch_size)
    return _held.models[key]


def clear_cache() -> None:
    """Let go of the model that this thread holds."""
    _held.models.clear()


def _key(description: ModelDescription, batch_size: int) -> _Key:
    space = description.pixel_space
    settings = [
        value if not hasattr(value, "tobytes") else (value.shape, value.tobytes())
        for value in vars(space).values()
    ]
    described = (*description.file_stamps, *settings, description.logits, description.classes)
    return (*described, batch_size, current_device())
