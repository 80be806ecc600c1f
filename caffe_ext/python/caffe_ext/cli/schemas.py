"""What the programs read again of the JSON files that they have written.

Imported late: it needs msgspec, and --help nothing but Python.
"""

from dataclasses import dataclass

from caffe_ext.storage.json_file import Object, checked


@dataclass(frozen=True)
class Summary:
    """What shows that summary.json is one of hotcold and fastgradient."""

    seed: int
    images: Object
    pass_protocols: Object
    models: tuple[Object, ...]


@dataclass(frozen=True)
class TrainedModel:
    """What of an entry of models.json is read again."""

    id: str
    weights: str


@dataclass(frozen=True)
class TrainedModels:
    """What models.json holds, each with all that stands there."""

    models: tuple[Object, ...]

    def __post_init__(self) -> None:
        """Raise ValueError for entries that lack something."""
        for one in self.models:
            checked(one, TrainedModel)
