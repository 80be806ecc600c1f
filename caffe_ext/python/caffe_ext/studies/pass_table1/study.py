"""The study from the training to the measurements; an interrupted one goes on.

    study = PassStudy(StudySettings(bases=1), Path("build/pass_table1"))
    found = study.run(study.prepare_data())

<work>/data                databases of MNIST, or of the digits
<work>/base1/              of each base: its training, its images, its hard positives
<work>/held_out/           the attacks for the test set
<work>/training/           the training that is under way
<work>/networks/           the networks that were trained, see store.py
<work>/points/             what was measured of them
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from caffe_ext.data import ImageSet, ImageSource, PreparedFolder, open_images
from caffe_ext.errors import RecordError
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import ModelDescription, read_model
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runs.output_folder import claim_output
from caffe_ext.studies.pass_table1.design import (
    BASIC,
    DEFORMED,
    HELD_OUT,
    ORIGINALS,
    StudyNetwork,
    StudySettings,
    format_range,
    list_networks,
)
from caffe_ext.studies.pass_table1.held_out import HeldOut, collect_held_out
from caffe_ext.studies.pass_table1.sets import (
    make_deformed_pool,
    make_original_pool,
    write_shuffled,
)
from caffe_ext.studies.pass_table1.store import (
    Measurement,
    NetworkStore,
    TrainedNetwork,
    make_name,
)
from caffe_ext.studies.pass_table1.training import StudyTraining
from caffe_ext.training.hard_positives.folder import HardPositiveSet
from caffe_ext.training.hard_positives.presets import PRESETS, Recipe
from caffe_ext.training.hard_positives.training_set import NothingLeftError, SetRequest, make_set
from caffe_ext.training.lenet import LeNetTraining, write_lenet_file
from caffe_ext.training.settings import SEEDS


@dataclass(frozen=True)
class Finding:
    """A network and its measurement."""

    network: StudyNetwork
    found: Measurement


@dataclass(frozen=True)
class _Base:
    """A trained base, by its number from 1."""

    number: int
    folder: Path
    model: ModelDescription
    images: HardPositiveSet


@dataclass(frozen=True)
class PassStudy:
    """What is trained, on what, and where the results go.

    work      the folder of everything
    digits    scikit-learn's digits in place of MNIST
    data_dir  where MNIST's raw files are; None: the usual places
    gpu       the number of the GPU to train on; None: the CPU
    """

    settings: StudySettings
    work: Path
    digits: bool = False
    data_dir: Path | None = None
    gpu: int | None = None

    def prepare_data(self, reporter: Reporter | None = None) -> PreparedFolder:
        """Write the databases, or find them; DataError if that is impossible."""
        lenet = LeNetTraining(self.work, digits=self.digits, data_dir=self.data_dir)
        return lenet.prepare_data(self.work / "data", reporter)

    def run(self, data: PreparedFolder, reporter: Reporter | None = None) -> list[Finding]:
        """Train and measure what is missing; return all measurements.

        Raises DataError for damaged data, TrainingError if a training fails, RecordError for a
        damaged measurement and while another process works in the folder.
        """
        with claim_output(self.work):
            return _Run(self, data, reporter or SilentReporter()).run()


@dataclass(frozen=True)
class _Run:
    """A run of a study whose data are prepared."""

    study: PassStudy
    data: PreparedFolder
    reporter: Reporter

    @property
    def settings(self) -> StudySettings:
        return self.study.settings

    @cached_property
    def source(self) -> ImageSource:
        """Return the training images."""
        return open_images((self.data.folder / "train_lmdb").absolute())

    @cached_property
    def originals(self) -> ImageSet:
        """Return the training images, in memory."""
        return _read_all(self.source)

    @cached_property
    def tests(self) -> ImageSource:
        """Return the test images."""
        return open_images((self.data.folder / "test_lmdb").absolute())

    @cached_property
    def digest(self) -> str:
        """Return the digest of the training images."""
        return self.source.compute_digest(self.reporter)

    @cached_property
    def training(self) -> StudyTraining:
        return StudyTraining(self.data, self.study.gpu)

    @property
    def store(self) -> NetworkStore:
        return NetworkStore(self.study.work)

    def run(self) -> list[Finding]:
        """Return all measurements."""
        bases = [self._train_base(number) for number in range(1, self.settings.bases + 1)]
        held_out = collect_held_out(
            [base.model for base in bases],
            self.tests,
            self.settings.held_out,
            self.study.work / "held_out",
            self.reporter,
        )
        networks, findings = list(list_networks(self.settings)), []
        for number, network in enumerate(networks, 1):
            base = bases[network.base - 1]
            found = self._restore_point(network, base, held_out, f"{number} of {len(networks)}")
            if found is not None:
                findings.append(Finding(network, found))
        return findings

    def _train_base(self, number: int) -> _Base:
        """Train a base, or find it."""
        folder = self.study.work / f"base{number}"
        seed = (self.settings.seed + number - 1) % SEEDS
        images = self._shuffle_originals(folder / "originals", seed)
        result = self.training.train(
            folder / f"base{number}", images, self.settings.iterations, self.reporter, seed=seed
        )
        path = write_lenet_file(folder, "base", result.weights, f"LeNet {number}")
        return _Base(number, folder, read_model(path), images)

    def _shuffle_originals(self, folder: Path, seed: int) -> HardPositiveSet:
        pool, shape = make_original_pool(self.originals), self.source.image_shape
        about = {"images": self.digest, "seed": seed}
        return write_shuffled(folder, [pool], shape, about, self.reporter)

    def _restore_point(
        self, network: StudyNetwork, base: _Base, held_out: HeldOut, place: str
    ) -> Measurement | None:
        """Return the measurement of a network; None if there is nothing to train it on."""
        depends = self._describe_training(network, base)
        name = make_name(network, depends)
        found = self.store.read_point(name, held_out.digest, depends)
        if found is None:
            trained = self._restore_network(network, base, name, depends)
            if trained.model is not None:
                found = self._measure(trained.model.load(), trained, held_out)
                self.store.write_point(name, held_out.digest, depends, found)
            self.reporter.note(f"{place}: {network.id}, {_format(found)}")
        return found

    def _describe_training(self, network: StudyNetwork, base: _Base) -> dict[str, Any]:
        """Return what a network's weights depend on, and nothing else, for JSON."""
        model, iterations = base.model.identify(), self.settings.fine_tuning
        if network.row == BASIC:
            return {"base": model}
        depends: dict[str, Any] = {
            "solver": self.training.solver_digest,
            "images": self.digest,
            "seed": self._find_seed(network),
        }
        if network.row == DEFORMED:
            # The paper trained these networks from the beginning, for as long.
            iterations += self.settings.iterations
            depends |= {"deformed": self.settings.deformed}
        elif network.row == ORIGINALS:
            depends |= {"weights": model["weights_sha256"]}
        else:
            depends |= {"base": model, "recipe": asdict(self._make_recipe(network))}
        return depends | {"iterations": iterations}

    def _find_seed(self, network: StudyNetwork) -> int:
        """Return the seed of the order of images: one for each base and ordering, in all rows."""
        return (1000 * (self.settings.seed + network.base - 1) + network.ordering) % SEEDS

    def _make_recipe(self, network: StudyNetwork) -> Recipe:
        low, high = network.pass_range or (None, None)
        return Recipe(
            attacks=PRESETS[network.row],
            min_pass=low,
            max_pass=high,
            mix=self.settings.mix,
            limit=self.settings.attacked,
            seed=self._find_seed(network),
        )

    def _restore_network(
        self, network: StudyNetwork, base: _Base, name: str, depends: Mapping[str, Any]
    ) -> TrainedNetwork:
        """Return a network that was trained before, or train it."""
        if network.row == BASIC:
            return TrainedNetwork(base.model, 0, base.images.record["images"])
        folder = self.study.work / "training" / name
        trained = self.store.read_network(name, depends)
        if trained is None:
            trained = self._train(network, base, folder, depends)
        shutil.rmtree(folder, ignore_errors=True)
        return trained

    def _train(
        self, network: StudyNetwork, base: _Base, folder: Path, depends: Mapping[str, Any]
    ) -> TrainedNetwork:
        """Train a network, and keep it.

        folder  has its name, and what an interrupted training goes on from
        """
        try:
            images = self._make_images(network, base)
        except NothingLeftError:
            if network.pass_range is None:
                raise
            return self.store.write_nothing(folder.name, depends)
        result = self.training.train(
            folder / network.id,
            images,
            depends["iterations"],
            self.reporter,
            seed=depends["seed"],
            weights=None if network.row == DEFORMED else base.model.weights,
        )
        return self.store.write_network(folder.name, depends, result.weights, images)

    def _make_images(self, network: StudyNetwork, base: _Base) -> HardPositiveSet:
        """Return the training set of a network, in place of that of another one."""
        seed = self._find_seed(network)
        if network.row == ORIGINALS:
            return self._shuffle_originals(base.folder / "others", seed)
        if network.row == DEFORMED:
            pool = make_deformed_pool(self.originals, self.settings.deformed, seed)
            about = {"images": self.digest, "deformed": self.settings.deformed, "seed": seed}
            folder, shape = base.folder / "others", self.source.image_shape
            return write_shuffled(folder, [pool], shape, about, self.reporter)
        request = SetRequest(
            base.model,
            self.source,
            self._make_recipe(network),
            base.folder / "hard_positives",
            about={"network": network.id},
        )
        try:
            return make_set(request, self.reporter)
        except RecordError:
            # It holds those of another network; attacks with the same settings are reused.
            return make_set(replace(request, again=True), self.reporter)

    def _measure(
        self, classifier: Classifier, trained: TrainedNetwork, held_out: HeldOut
    ) -> Measurement:
        tests = _read_all(self.tests)
        wrong = {
            text: int((classifier.predict(some.images) != some.labels).sum())
            for text, some in held_out.types.items()
        }
        return Measurement(
            images=len(tests),
            wrong=int((classifier.predict(tests.images) != tests.labels).sum()),
            adversarials={text: len(held_out.types[text]) for text in HELD_OUT},
            wrong_of=wrong,
            hard_positives=trained.hard_positives,
            trained_on=trained.trained_on,
        )


def _read_all(source: ImageSource) -> ImageSet:
    return ImageSet(*source.read_labelled(), source.origin)


def _format(found: Measurement | None) -> str:
    if found is None:
        return "no hard positives with such a PASS"
    if not any(found.adversarials.values()):
        return f"error {found.error:.2%}; there are no adversarials"
    return f"error {found.error:.2%}, of adversarials {found.adversarial_error:.2%}"


def group_by_row(findings: Sequence[Finding]) -> Mapping[str, list[Measurement]]:
    """Return the measurements of each row of the table."""
    rows: dict[str, list[Measurement]] = {}
    for finding in findings:
        if finding.network.pass_range is None:
            rows.setdefault(finding.network.row, []).append(finding.found)
    return rows


def group_by_range(findings: Sequence[Finding]) -> Mapping[str, list[Measurement]]:
    """Return the measurements of each range of PASS."""
    ranges: dict[str, list[Measurement]] = {}
    for finding in findings:
        if finding.network.pass_range is not None:
            name = format_range(finding.network.pass_range)
            ranges.setdefault(name, []).append(finding.found)
    return ranges
