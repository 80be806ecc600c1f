"""Train the networks of the study.

    training = DistortionTraining(LeNetTraining(Path("build/distortion")))
    data = training.prepare_data()
    trained = training.train_all(data, list_networks([DEFENCES["committee"]]))

<output>/plain/plain_iter_10000.caffemodel, ...   a folder for each training run
<output>/data                                     the databases
<output>/sets/stage-1, ...                        images that stages are trained on, see stages.py
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from caffe_ext.data import PreparedFolder
from caffe_ext.models.description import read_model
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime.checkout import ROOT, locate_from_root
from caffe_ext.runtime.device import Device
from caffe_ext.storage.provenance import hash_file
from caffe_ext.studies.distortion.models import NETWORKS, StudyNetwork
from caffe_ext.studies.distortion.stages import (
    DATABASE,
    make_stage_set,
    write_joined_network,
)
from caffe_ext.training import TrainingRequest, TrainingResult, train
from caffe_ext.training.lenet import MODEL_FILE, LeNetTraining
from caffe_ext.training.settings import SEEDS, format_text

STAGE_ITERATIONS, DIGITS_STAGE_ITERATIONS = 5000, 1000
_NETWORK = ROOT / "prototxt" / "lenet_dropout_train_test.prototxt"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network, its seed, and its training result."""

    network: StudyNetwork
    seed: int
    result: TrainingResult


@dataclass(frozen=True)
class DistortionTraining:
    """How the networks are trained.

    lenet  the common settings; its seed is that of the first network, the next one's is one more
    """

    lenet: LeNetTraining

    def prepare_data(self, reporter: Reporter | None = None) -> PreparedFolder:
        """Write or find the databases; DataError if that is impossible."""
        return self.lenet.prepare_data(self.lenet.output / "data", reporter)

    def train_all(
        self,
        data: PreparedFolder,
        networks: Sequence[StudyNetwork],
        reporter: Reporter | None = None,
    ) -> dict[str, TrainedNetwork]:
        """Train networks, or reuse finished runs; return them by their ids.

        networks  with all earlier stages of each stage, in the order of NETWORKS

        Raises as train() does, DataError if the images of a stage cannot be written.
        """
        trained: dict[str, TrainedNetwork] = {}
        for network in networks:
            seed = (self.lenet.seed + list(NETWORKS).index(network.id)) % SEEDS
            request = self._make_request(data, network, seed, trained, reporter)
            result = train(request, reporter or SilentReporter())
            trained[network.id] = TrainedNetwork(network, seed, result)
        return trained

    def _make_request(
        self,
        data: PreparedFolder,
        network: StudyNetwork,
        seed: int,
        trained: Mapping[str, TrainedNetwork],
        reporter: Reporter | None,
    ) -> TrainingRequest:
        lenet = replace(self.lenet, seed=seed)
        if not network.stage:
            return lenet.make_request(data, network.solver, name=network.id)
        fewer = DIGITS_STAGE_ITERATIONS if data.record.embedded else STAGE_ITERATIONS
        lenet = replace(lenet, iterations=lenet.iterations or fewer)
        start = trained[network.previous].result.weights
        self._make_set(data, network, start, reporter)
        path = self.lenet.output / "sets" / f"{network.id}.prototxt"
        sets = [self._name_set(stage) / DATABASE for stage in range(1, network.stage + 1)]
        write_joined_network(_NETWORK, path, [locate_from_root(one) for one in sets])
        net, weights = (format_text(locate_from_root(one)) for one in (path, start))
        overrides = f"net: {net} weights: {weights}"
        return lenet.make_request(data, network.solver, name=network.id, overrides=overrides)

    def _make_set(
        self,
        data: PreparedFolder,
        network: StudyNetwork,
        start: Path,
        reporter: Reporter | None,
    ) -> None:
        """Write the images of a stage, made with the network before it, unless they exist."""
        depends = {
            "weights": hash_file(start),
            "images": list(data.record.fingerprint),
            "order": self.lenet.seed + network.stage,
        }
        device = None if self.lenet.gpu is None else Device(self.lenet.gpu)
        make_stage_set(
            self._name_set(network.stage),
            lambda: read_model(MODEL_FILE, start).load(device=device),
            data.folder / "train_lmdb",
            depends,
            reporter or SilentReporter(),
        )

    def _name_set(self, stage: int) -> Path:
        return self.lenet.output / "sets" / f"stage-{stage}"
