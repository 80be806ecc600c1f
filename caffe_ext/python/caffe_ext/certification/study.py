"""Study: what every certification method is given, and what its record says."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from caffe_ext.data import ImageSource
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.runtime.checkout import ROOT, shorten_paths
from caffe_ext.storage.provenance import provenance


@dataclass(frozen=True)
class Study:
    """What is certified, how, and where the results go.

    models       with distinct names
    source       the images, with labels
    folder       for the results; created if it does not exist
    settings     of the method
    limit        only the first images, or a sample of a folder's; None: all
    sample_seed  chooses another sample
    batch_size   images in a network at a time
    again        discard what is in the folder
    """

    models: Sequence[LoadableModel]
    source: ImageSource
    folder: Path
    settings: Any
    limit: int | None = None
    sample_seed: int = 0
    batch_size: int = 100
    again: bool = False

    def __post_init__(self) -> None:
        """Accept a folder given as a string, too."""
        object.__setattr__(self, "folder", Path(self.folder))

    def record(
        self, source: ImageSource, digest: str, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what the results depend on, for JSON.

        source    the images that were used
        digest    of these images
        settings  what the method records besides its own settings
        """
        return asdict(provenance(ROOT)) | {
            "settings": asdict(self.settings) | dict(settings),
            "images": {"digest": digest, "origin": shorten_paths(source.origin)},
            "models": [model.shown_record() for model in self.models],
        }
