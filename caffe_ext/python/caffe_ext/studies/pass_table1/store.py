"""What the study keeps of its networks: each is trained once, whatever it is tested on later.

networks/<network>.caffemodel      the weights; <network>: its id, and a digest of what its training
                                   depends on
networks/<network>.yaml, .json     its model file, and what it was trained on; written last
points/<network>-<test set>.json   what was measured of it
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from caffe_ext.errors import RecordError
from caffe_ext.models.description import ModelDescription, read_model
from caffe_ext.storage.atomic import replace_file, write_json
from caffe_ext.storage.description import check_same, hash_description
from caffe_ext.storage.json_file import Count, Object, Sha256, read_json
from caffe_ext.storage.provenance import hash_file
from caffe_ext.storage.result_file import StoredResult, read_result, write_result
from caffe_ext.studies.pass_table1.design import HELD_OUT, StudyNetwork
from caffe_ext.training.hard_positives.folder import HardPositiveSet
from caffe_ext.training.lenet import write_lenet_file

_ADVICE = "remove it, and run the same command again"


@dataclass(frozen=True)
class Measurement:
    """What was measured of a network.

    images          test images
    wrong           those that are misclassified
    adversarials    adversarials in the test set, by type
    wrong_of        those that are misclassified, by type
    hard_positives  in its training set; with PASS in its range, if it has one
    trained_on      images in its training set
    """

    images: Annotated[int, Meta(ge=1)]
    wrong: Count
    adversarials: dict[str, Count]
    wrong_of: dict[str, Count]
    hard_positives: Count
    trained_on: Count

    def __post_init__(self) -> None:
        """Raise ValueError for counts that nothing can have."""
        if not set(self.adversarials) == set(self.wrong_of) == set(HELD_OUT):
            raise ValueError(f"the types of adversarials are not {', '.join(HELD_OUT)}")
        pairs = [(self.wrong_of[text], self.adversarials[text]) for text in HELD_OUT]
        if any(wrong > count for wrong, count in [(self.wrong, self.images), *pairs]):
            raise ValueError("more are misclassified than there are")

    @property
    def error(self) -> float:
        """Return the error on the test images, 0..1."""
        return self.wrong / self.images

    @property
    def adversarial_error(self) -> float:
        """Return the error on all adversarials together, 0..1; NaN without any."""
        count = sum(self.adversarials.values())
        return sum(self.wrong_of.values()) / count if count else float("nan")


@dataclass(frozen=True)
class StoredNetwork:
    """What a network was trained on, and what its training depends on, as in its file.

    weights_sha256  of its weights; None: nothing was left to train it on
    hard_positives  in its training set
    trained_on      images in its training set
    """

    depends: Object
    weights_sha256: Sha256 | None
    hard_positives: Count = 0
    trained_on: Count = 0


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that can be measured; None: there was nothing to train it on.

    hard_positives, trained_on  as in StoredNetwork
    """

    model: ModelDescription | None
    hard_positives: int = 0
    trained_on: int = 0


@dataclass(frozen=True)
class NetworkStore:
    """The networks and measurements in the folder of a study.

    Networks are named by make_name(), so that a name stands for one training.
    """

    work: Path

    def read_network(self, name: str, depends: Mapping[str, Any]) -> TrainedNetwork | None:
        """Return a network; None: it has not been trained, or its weights are gone.

        depends  what its training depends on

        Raises RecordError if it is damaged, or another one.
        """
        path, weights = self._locate(name, ".json"), self._locate(name, ".caffemodel")
        if not path.exists():
            return None
        stored = read_json(path, StoredNetwork, _ADVICE)
        check_same(depends, stored.depends, f"{path} is of another network", _ADVICE)
        if stored.weights_sha256 is None:
            return TrainedNetwork(None)
        if not weights.exists():
            return None
        if hash_file(weights) != stored.weights_sha256:
            raise RecordError(f"{weights} is damaged: {_ADVICE} (it is not what was trained)")
        return TrainedNetwork(self._write_model(name), stored.hard_positives, stored.trained_on)

    def write_network(
        self, name: str, depends: Mapping[str, Any], weights: Path, images: HardPositiveSet
    ) -> TrainedNetwork:
        """Keep a network, with a copy of its weights; images: that it was trained on."""
        copy = self._locate(name, ".caffemodel")
        copy.parent.mkdir(exist_ok=True)
        with replace_file(copy) as file:
            file.write(weights.read_bytes())
        counts = {"hard_positives": images.record["hard_positives"]}
        counts["trained_on"] = images.record["images"]
        model = self._write_model(name)
        stored = StoredNetwork(dict(depends), hash_file(copy), **counts)
        write_json(self._locate(name, ".json"), asdict(stored))
        return TrainedNetwork(model, **counts)

    def write_nothing(self, name: str, depends: Mapping[str, Any]) -> TrainedNetwork:
        """Keep that there is nothing to train a network on."""
        path = self._locate(name, ".json")
        path.parent.mkdir(exist_ok=True)
        write_json(path, asdict(StoredNetwork(dict(depends), None)))
        return TrainedNetwork(None)

    def read_point(
        self, name: str, test_set: str, depends: Mapping[str, Any]
    ) -> Measurement | None:
        """Return what was measured of a network; None: nothing.

        test_set  the digest of the adversarials
        depends   what the network's training depends on

        Raises RecordError if the file is damaged or holds another measurement.
        """
        path = self._locate_point(name, test_set)
        if not path.exists():
            return None
        return read_result(
            path, StoredResult[Measurement], _describe_point(depends, test_set), _ADVICE
        )

    def write_point(
        self, name: str, test_set: str, depends: Mapping[str, Any], found: Measurement
    ) -> None:
        """Keep a measurement; depends: what the network's training depends on."""
        path = self._locate_point(name, test_set)
        write_result(path, _describe_point(depends, test_set), found)

    def _locate(self, name: str, suffix: str) -> Path:
        return self.work / "networks" / f"{name}{suffix}"

    def _locate_point(self, name: str, test_set: str) -> Path:
        return self.work / "points" / f"{name}-{test_set[:12]}.json"

    def _write_model(self, name: str) -> ModelDescription:
        """Write the model file of a network's weights, and read it."""
        weights, title = self._locate(name, ".caffemodel"), name.rpartition("-")[0]
        return read_model(write_lenet_file(weights.parent, name, weights, title))


def make_name(network: StudyNetwork, depends: Mapping[str, Any]) -> str:
    """Return the name of a network's files; depends: what its training depends on."""
    return f"{network.id}-{hash_description(depends)}"


def _describe_point(depends: Mapping[str, Any], test_set: str) -> dict[str, Any]:
    """Return what a measurement depends on."""
    return {"network": dict(depends), "held_out": test_set}
