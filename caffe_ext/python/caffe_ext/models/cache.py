"""The last model that this process has loaded: tasks on the same model need not load it again."""

from caffe_ext.models.base import Model
from caffe_ext.models.description import ModelDescription
from caffe_ext.runtime.device import current

_Key = tuple[object, ...]
_held: dict[_Key, Model] = {}


def load_cached(description: ModelDescription, batch_size: int) -> Model:
    """Return the model, on the device that Caffe is on; that of the last call if it is the same.

    At most one model is held. A changed file (its size or time) is another one. Like any model it
    serves one thread at a time. Raises as ModelDescription.load does.
    """
    key = _key(description, batch_size)
    if key not in _held:
        _held.clear()
        _held[key] = description.load(batch_size)
    return _held[key]


def forget_cached() -> None:
    """Let go of the model that is held."""
    _held.clear()


def _key(description: ModelDescription, batch_size: int) -> _Key:
    files = [(path, path.stat()) for path in (description.deploy, description.weights)]
    places = [(str(path.absolute()), about.st_size, about.st_mtime_ns) for path, about in files]
    space = description.pixel_space
    settings = [
        value if not hasattr(value, "tobytes") else (value.shape, value.tobytes())
        for value in vars(space).values()
    ]
    return (*places, *settings, description.logits, batch_size, current())
