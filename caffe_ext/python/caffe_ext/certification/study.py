"""Study: what every method of certification is given, and what its record says."""

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

    models       with names that differ
    source       the images, with labels
    folder       for the results; made if it is not there
    settings     of the method
    limit        only the first images, of a folder a sample; None: all
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
        """Take a folder that is given as a text, too."""
        object.__setattr__(self, "folder", Path(self.folder))

    def record(
        self, source: ImageSource, digest: str, settings: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what the results depend on, for JSON.

        source    the images that were taken
        digest    theirs
        settings  what the method says besides its own settings
        """
        return asdict(provenance(ROOT)) | {
            "settings": asdict(self.settings) | dict(settings),
            "images": {"digest": digest, "origin": shorten_paths(source.origin)},
            "models": [model.shown_record() for model in self.models],
        }
