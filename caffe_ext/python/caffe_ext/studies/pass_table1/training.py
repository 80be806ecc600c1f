"""The trainings of the study: bases, and networks fine-tuned from them.

Each is trained in a folder of its own, from which an interrupted run resumes; what remains of a
finished one are its weights.
"""

from dataclasses import dataclass
from pathlib import Path

from caffe_ext.data import PreparedFolder
from caffe_ext.reporting import Reporter
from caffe_ext.runtime.checkout import ROOT, locate_from_root
from caffe_ext.training import TrainingRequest, TrainingResult, train
from caffe_ext.training.hard_positives.folder import HardPositiveSet
from caffe_ext.training.settings import format_text

SOLVER = ROOT / "solvers" / "lenet_finetune.prototxt"
_TRAINED_ON, _TESTED_ON = "data/mnist_hardpositives/train_lmdb", "data/mnist/test_lmdb"
_TEST_BATCH = 100


@dataclass(frozen=True)
class StudyTraining:
    """What all trainings have in common.

    data  MNIST's databases; tests are on its test images
    gpu   the number of the GPU to train on; None: train on the CPU
    """

    data: PreparedFolder
    gpu: int | None = None

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
