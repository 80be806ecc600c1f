"""Train the models of the report's Table 1 on CIFAR-10.

    training = RobustTraining(Path("build/report_table1"))
    data = training.prepare_data()
    trained = [training.train(data, model) for model in TABLE_1]

<output>/basic/basic_iter_15000.caffemodel, ...   a folder for each training run
<output>/data                                     the databases
<output>/basic.yaml, ...                          the models' descriptions
"""

from dataclasses import dataclass
from pathlib import Path

from caffe_ext.data import PreparedFolder, Request, prepare
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime.checkout import DATA, ROOT, locate_from_root
from caffe_ext.studies.robust_training.models import EPOCH, EPOCHS, TABLE_1, Radii, StudyModel
from caffe_ext.training import TrainingRequest, TrainingResult, train
from caffe_ext.training.model_file import write_model_file
from caffe_ext.training.schedule import format_schedule
from caffe_ext.training.settings import SEEDS

NETWORK = ROOT / "prototxt" / "cifar10_quick_train_test.prototxt"
MODEL_FILE = ROOT / "prototxt" / "cifar10_quick.yaml"

_FILES = ("train_lmdb", "test_lmdb", "mean.binaryproto")


@dataclass(frozen=True)
class TrainedStudyModel:
    """A model, its training result, and its description as a model file."""

    model: StudyModel
    result: TrainingResult
    description: Path


@dataclass(frozen=True)
class RobustTraining:
    """How the models are trained.

    output      the folder of the training runs
    iterations  of each; None: the report's 30 epochs. As in the solver files, the learning rate is
                divided by ten after 90% and 95% of them.
    radii       of the attacks in training: those of the literature, or the report's
    seed        of the weights, dropout, noise and random starts of the first model; the next one's
                is one more
    data_dir    where CIFAR-10's raw files are; None: the usual places
    again       train again even if a run is finished
    gpu         the number of the GPU to train on; None: train on the CPU
    """

    output: Path
    iterations: int | None = None
    radii: Radii = "standard"
    seed: int = 1
    data_dir: Path | None = None
    again: bool = False
    gpu: int | None = None

    @property
    def length(self) -> int:
        """Return the number of iterations of each run."""
        return EPOCHS * EPOCH if self.iterations is None else self.iterations

    def prepare_data(self, reporter: Reporter | None = None) -> PreparedFolder:
        """Write the databases, or find them; DataError if that is impossible."""
        folder = self.output / "data"
        request = Request("cifar10", folder, data_dir=self.data_dir, homes=(DATA,))
        return prepare(request, reporter or SilentReporter())

    def make_request(self, data: PreparedFolder, model: StudyModel) -> TrainingRequest:
        """Return the request to train a model.

        Raises DataError if the batches of the test cannot cover the test images exactly.
        """
        length = self.length
        drops = dict.fromkeys(max(1, length * share // 100) for share in (90, 95))
        steps = " ".join(f"stepvalue: {drop}" for drop in drops)
        seed = (self.seed + TABLE_1.index(model)) % SEEDS
        overrides = [
            f"{format_schedule(length, data, NETWORK)} {steps}",
            f"random_seed: {seed} {model.format_overrides(self.radii)}",
        ]
        folder = locate_from_root(data.folder)
        return TrainingRequest(
            solver=ROOT / "solvers" / f"{model.solver}.prototxt",
            output=self.output / model.id,
            overrides=" ".join(overrides),
            sources={f"data/cifar10/{name}": f"{folder}/{name}" for name in _FILES},
            root=ROOT,
            again=self.again,
            gpu=self.gpu,
        )

    def train(
        self, data: PreparedFolder, model: StudyModel, reporter: Reporter | None = None
    ) -> TrainedStudyModel:
        """Train a model, or reuse a finished run, and describe it; raises as train() does."""
        result = train(self.make_request(data, model), reporter or SilentReporter())
        path = self.output / f"{model.id}.yaml"
        files = {"weights": result.weights, "mean": data.folder / "mean.binaryproto"}
        write_model_file(MODEL_FILE, path, name=model.title, files=files)
        return TrainedStudyModel(model, result, path)
