"""The YAML file of anything that can be loaded: a network, a committee, or a smoothed network."""

from pathlib import Path

from caffe_ext.models.committee_description import describe_committee
from caffe_ext.models.description import describe_model
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.models.settings import MEMBERS, SMOOTHING, read_settings
from caffe_ext.models.smoothed_description import describe_smoothed
from caffe_ext.storage.regular_file import AnyPath


def read_loadable(path: AnyPath, weights: AnyPath | None = None) -> LoadableModel:
    """Read the YAML file of a network, plain or smoothed, or of a committee.

    weights  of a network, as in read_model()

    Raises FileNotFoundError, and ValueError that names the file and the key.
    """
    settings = read_settings(path)
    if MEMBERS in settings:
        if weights is not None:
            raise ValueError(f"{path} is a committee, whose members have their own weights")
        return describe_committee(settings, Path(path))
    if SMOOTHING in settings:
        return describe_smoothed(settings, Path(path), weights)
    return describe_model(settings, weights=weights, source=path)
