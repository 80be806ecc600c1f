"""Assessment: evaluate models (evaluate.py) and write the report (report.py).

assessment = Assessment(
    [read_model(Path("prototxt/lenet.yaml"), Path("plain.caffemodel"))],
    partial(open_images, "mnist"),
    Settings(limit=1000),
    Path("out"),
)
report = assessment.run()
report.models[0].accuracy
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from caffe_ext.data import ImageSource
from caffe_ext.evaluation.certificates import (
    FOLDER,
    Certificate,
    CertificateSettings,
    Certifier,
    check_certifiable,
    describe_contradictions,
)
from caffe_ext.evaluation.evaluate import Evaluator
from caffe_ext.evaluation.report import FILES, check_folder, write_report
from caffe_ext.evaluation.report_contents import Report
from caffe_ext.evaluation.result import ModelEvaluation, Settings
from caffe_ext.evaluation.strip import Strip, make_strip
from caffe_ext.evaluation.tasks import Resources
from caffe_ext.evaluation.work import ImageSet
from caffe_ext.metrics.pass_score import PUBLISHED, STANDARD
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runs.compatibility import check_model, report_images, warn_of_missing_scale
from caffe_ext.runs.export import name_model_folders
from caffe_ext.runs.output_folder import check_writable, claim_output
from caffe_ext.runtime.checkout import shorten_paths
from caffe_ext.storage.provenance import collect_provenance


@dataclass(frozen=True)
class _Sample:
    """Opens what is evaluated of a source, in any process."""

    opener: Callable[[], ImageSource]
    limit: int | None
    seed: int

    def __call__(self) -> ImageSource:
        """Open it."""
        return self.opener().sample(self.limit, self.seed)


@dataclass(frozen=True)
class Assessment:
    """Which models are evaluated on what, and where the results go.

    models     with distinct names
    opener     opens the images, also in other processes: picklable
    settings   what is measured
    folder     for the report and the results behind it
    resources  batch size and number of processes
    sample_seed
               draws another sample of a folder or listing, where the settings' limit takes one
    certificates
               also certify images; None: do not
    """

    models: Sequence[LoadableModel]
    opener: Callable[[], ImageSource]
    settings: Settings
    folder: Path
    resources: Resources = field(default_factory=Resources)
    sample_seed: int = 0
    certificates: CertificateSettings | None = None

    def __post_init__(self) -> None:
        """Accept a folder given as text."""
        object.__setattr__(self, "folder", Path(self.folder))

    def run(self, reporter: Reporter | None = None) -> Report:
        """Do everything that is not done yet, write the report, and return it.

        Everything that can be checked is checked before anything is written. Raises ValueError for
        models, attacks and images that do not fit, RecordError if the folder holds the results of
        something else or another process is writing into it, DataError for images that cannot be
        read, WorkerError if a worker process dies, OSError for files that cannot be read or
        written.
        """
        reporter = reporter or SilentReporter()
        check_writable(self.folder)
        name_model_folders([model.name for model in self.models], (*FILES, FOLDER))
        whole, opener = self.opener(), _Sample(self.opener, self.settings.limit, self.sample_seed)
        source = opener()
        report_images(source, reporter)
        for model in self.models:
            check_model(model, (), source, self.resources.batch_size)
        digest = source.compute_digest(reporter)
        images = ImageSet(opener, digest, labelled=source.labelled)
        evaluator = Evaluator(self.models, images, self.settings, self.folder, self.resources)
        # Errors in the attacks are found before the work begins.
        for remark in evaluator.remarks:
            reporter.warn(remark)
        if evaluator.default_note:
            reporter.note(evaluator.default_note)
        if self.certificates is not None:
            if not source.labelled:
                raise ValueError("certificates need images with labels: leave out --certify")
            check_certifiable(self.models, evaluator.suites, self.certificates)
        identity = evaluator.identify()
        if not self.settings.again:
            check_folder(self.folder, identity)
        about = {
            "origin": shorten_paths(source.origin),
            "count": len(whole),
            "limit": self.settings.limit,
            "selection": source.selection,
            "labelled": source.labelled,
        }
        with claim_output(self.folder):
            evaluations = evaluator.evaluate(reporter)
            finished = {one.name: evaluator.list_finished(one) for one in evaluations}
            strip = make_strip(source, evaluations, finished)
            certificates = self._certify(source, evaluations, reporter)
            report = replace(
                self._report(evaluations, about | {"sha256": digest}, identity, strip),
                certificates=certificates,
            )
            write_report(self.folder, report)
        for model, one in zip(self.models, evaluations, strict=True):
            records = next(iter(one.records.values()))
            warn_of_missing_scale(model, records, source, reporter)
        return report

    def _certify(
        self, source: ImageSource, evaluations: Sequence[ModelEvaluation], reporter: Reporter
    ) -> dict[str, Certificate]:
        """Return what is certified of each model, by its name; nothing if that was not asked for.

        A certificate that an attack contradicts is a defect of this program, and said.
        """
        if self.certificates is None:
            return {}
        certifier = Certifier(
            source,
            self.certificates,
            self.folder / FOLDER,
            self.resources.batch_size,
            self.sample_seed,
            self.settings.again,
        )
        named = certifier.certify(self.models, evaluations, reporter)
        for remark in describe_contradictions(named):
            reporter.warn(remark)
        return named

    def _report(
        self,
        evaluations: Sequence[ModelEvaluation],
        images: dict[str, Any],
        identity: dict[str, Any],
        strip: Strip | None,
    ) -> Report:
        """Return the report, with all that it depends on."""
        settings = self.settings
        budgets = dict.fromkeys(one for model in evaluations for one in model.suite.radii)
        return Report(
            models=[
                replace(evaluation, record=model.as_shown_record())
                for model, evaluation in zip(self.models, evaluations, strict=True)
            ],
            images=images,
            settings={
                "seed": settings.seed,
                "limit": settings.limit,
                "batch_size": self.resources.batch_size,
                "radii": [[one.norm, one.epsilon] for one in budgets],
                "cascade": list(settings.cascade),
                "probe": settings.probe,
                "probe_epsilon": settings.probe_epsilon,
                "noise": asdict(settings.noise) if settings.noise else None,
                "certificates": asdict(self.certificates) if self.certificates else None,
                "pass_protocols": {"standard": asdict(STANDARD), "published": asdict(PUBLISHED)},
            },
            provenance=asdict(collect_provenance()),
            identity=identity,
            strip=strip,
        )
