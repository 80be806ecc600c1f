"""LeNet trained with the solver files of the checkout, on MNIST or on the embedded digits.

lenet = LeNetTraining(Path("build/mine"), seed=3)
data = lenet.prepare_data(Path("build/mine/data"))
result = train(lenet.make_request(data, "lenet_bang", name="B1"))
write_lenet_file(Path("build/mine"), "B1", result.weights, "LeNet with BANG")
"""

from dataclasses import dataclass
from pathlib import Path

from caffe_ext.data import PreparedFolder, Request, prepare
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime.checkout import DATA, ROOT, locate_from_root
from caffe_ext.training.model_file import write_model_file
from caffe_ext.training.run import TrainingRequest
from caffe_ext.training.schedule import format_schedule

NETWORK = ROOT / "prototxt" / "lenet_train_test.prototxt"
MODEL_FILE = ROOT / "prototxt" / "lenet.yaml"
# With 1,497 images instead of 60,000, the nets reach their best accuracy long before 10,000.
DIGITS_ITERATIONS = 2000


@dataclass(frozen=True)
class LeNetTraining:
    """The common settings of training runs of LeNet.

    output      the folder of the runs' folders
    iterations  of each; None: as in the solver file, or DIGITS_ITERATIONS for the digits
    seed        of the weights, dropout and noise
    digits      train on scikit-learn's 1,797 handwritten digits instead of MNIST
    data_dir    where MNIST's raw files are; None: the usual places
    again       train again even if a run is finished
    gpu         the number of the GPU to train on; None: train on the CPU
    """

    output: Path
    iterations: int | None = None
    seed: int = 1
    digits: bool = False
    data_dir: Path | None = None
    again: bool = False
    gpu: int | None = None

    def prepare_data(
        self, folder: Path, reporter: Reporter | None = None, *, validation: int = 0
    ) -> PreparedFolder:
        """Write the databases to the folder, unless they are there, and return them.

        validation  how many of the last training images are held out

        Raises DataError.
        """
        request = Request(
            name="digits" if self.digits else "mnist",
            output=folder,
            data_dir=self.data_dir,
            homes=(DATA,),
            validation=validation,
        )
        return prepare(request, reporter or SilentReporter())

    def make_request(
        self, data: PreparedFolder, solver: str, *, name: str | None = None, overrides: str = ""
    ) -> TrainingRequest:
        """Return the request to train on the data.

        solver     the name of a file in solvers/, without .prototxt
        name       of the run, and of its folder in `output`; None: the solver's
        overrides  further changes to the solver file, as protobuf text

        Raises DataError if the batches of the test cannot cover the test images exactly.
        """
        iterations = self.iterations or (DIGITS_ITERATIONS if data.record.embedded else None)
        folder = locate_from_root(data.folder)
        parts = ("train_lmdb", "test_lmdb")
        schedule = format_schedule(iterations, data, NETWORK)
        return TrainingRequest(
            solver=ROOT / "solvers" / f"{solver}.prototxt",
            output=self.output / (name or solver),
            overrides=f"{schedule} random_seed: {self.seed} {overrides}",
            sources={f"data/mnist/{part}": f"{folder}/{part}" for part in parts},
            root=ROOT,
            again=self.again,
            gpu=self.gpu,
        )


def write_lenet_file(folder: Path, stem: str, weights: Path, name: str) -> Path:
    """Write <stem>.yaml, the description of a LeNet with these weights and this name."""
    path = folder / f"{stem}.yaml"
    return write_model_file(MODEL_FILE, path, name=name, files={"weights": weights})
