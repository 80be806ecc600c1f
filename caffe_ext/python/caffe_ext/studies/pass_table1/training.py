"""The trainings of the study: bases, and networks fine-tuned from them.

Each is trained in a folder of its own, from which an interrupted run resumes; what remains of a
finished one are its weights.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from caffe.proto import caffe_pb2
from google.protobuf import text_format

from caffe_ext.data import PreparedFolder
from caffe_ext.reporting import Reporter
from caffe_ext.runtime.checkout import ROOT, locate_from_root
from caffe_ext.training import TrainingRequest, TrainingResult, train
from caffe_ext.training.hard_positives.folder import HardPositiveSet
from caffe_ext.training.settings import format_text, read_settings

SOLVER = ROOT / "solvers" / "lenet_finetune.prototxt"
_TRAINED_ON, _TESTED_ON = "data/mnist_hardpositives/train_lmdb", "data/mnist/test_lmdb"
_TEST_BATCH = 100
_NOT_OF_THE_WEIGHTS = (
    *("test_iter", "test_interval", "test_initialization", "test_compute_loss", "test_state"),
    *("snapshot", "snapshot_prefix", "snapshot_format", "snapshot_after_train"),
    *("display", "average_loss", "debug_info", "solver_mode", "device_id"),
)
_OF_EACH_TRAINING = ("max_iter", "random_seed", "weights")


@dataclass(frozen=True)
class StudyTraining:
    """What all trainings have in common.

    data  MNIST's databases; tests are on its test images
    gpu   the number of the GPU to train on; None: train on the CPU
    """

    data: PreparedFolder
    gpu: int | None = None

    @cached_property
    def solver_digest(self) -> str:
        """Return a SHA-256 of what weights depend on in the solver file and its network: without
        tests, and without what each training sets.
        """
        settings = read_settings(SOLVER, root=ROOT)
        solver = caffe_pb2.SolverParameter()
        solver.CopyFrom(settings.solver)
        for field in (*_NOT_OF_THE_WEIGHTS, *_OF_EACH_TRAINING):
            solver.ClearField(field)
        parts = [solver]
        for network in settings.networks.values():
            trained = caffe_pb2.NetParameter()
            trained.CopyFrom(network)
            del trained.layer[:]
            trained.layer.extend(layer for layer in network.layer if not _is_for_tests(layer))
            parts.append(trained)
        return sha256("\0".join(map(text_format.MessageToString, parts)).encode()).hexdigest()

    def train(  # noqa: PLR0913  they are independent of each other
        self,
        folder: Path,
        images: HardPositiveSet,
        iterations: int,
        reporter: Reporter,
        *,
        seed: int,
        weights: Path | None = None,
    ) -> TrainingResult:
        """Train in a folder, or resume, or return a finished run; raises as train() does.

        images   that it is trained on
        weights  to begin with; None: random ones
        """
        tests = max(1, self.data.record.images["test_lmdb"] // _TEST_BATCH)
        overrides = [
            f"max_iter: {iterations} test_iter: {tests} test_interval: {iterations}",
            f"test_initialization: false random_seed: {seed}",
        ]
        if weights is not None:
            overrides.append(f"weights: {format_text(locate_from_root(weights))}")
        request = TrainingRequest(
            solver=SOLVER,
            output=folder,
            overrides=" ".join(overrides),
            sources={
                _TRAINED_ON: locate_from_root(images.database),
                _TESTED_ON: locate_from_root(self.data.folder / "test_lmdb"),
            },
            root=ROOT,
            gpu=self.gpu,
        )
        return train(request, reporter)


def _is_for_tests(layer: caffe_pb2.LayerParameter) -> bool:
    return {rule.phase for rule in layer.include if rule.HasField("phase")} == {caffe_pb2.TEST}
