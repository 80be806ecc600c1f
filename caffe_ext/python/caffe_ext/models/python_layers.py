"""Python layers: what a network computes is then also in their modules."""

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from caffe.proto import caffe_pb2

from caffe_ext.storage.provenance import hash_file


def hash_modules(networks: Iterable[caffe_pb2.NetParameter]) -> dict[str, str]:
    """Return the SHA-256, in hexadecimal, of the file of each module with layers of networks.

    Modules that these import in turn are not followed. Empty for networks without Python layers,
    and without those that cannot be found: Caffe says so when it builds the network.
    """
    names = {
        layer.python_param.module
        for network in networks
        for layer in network.layer
        if layer.type == "Python"
    }
    found = {name: _find_file(name) for name in sorted(names)}
    return {name: hash_file(file) for name, file in found.items() if file}


def _find_file(module: str) -> Path | None:
    """Return the file of a module; None if there is none that Python would import."""
    try:
        spec = find_spec(module)
    except Exception:  # of a package that the module is in, which Python imports for that
        return None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin)
