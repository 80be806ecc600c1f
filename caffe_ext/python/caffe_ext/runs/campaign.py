"""AttackCampaign: attack images of several models with several attacks, and keep what is found.

    models = [read_model(Path("prototxt/lenet.yaml"), Path("plain.caffemodel"))]
    attacks = [parse_attack("fgs"), parse_attack("hc1")]
    campaign = AttackCampaign(models, attacks, open_images("mnist"), Path("out"), limit=100)
    result = campaign.run()
    result.models[0].attacks[0].records.found

campaign_files.py describes the files in the folder. Running the same campaign again resumes an
interrupted one, and returns the results of a finished one at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from caffe_ext.attacks.base import Attack
from caffe_ext.attacks.criteria import MISCLASSIFIED, CriterionKind
from caffe_ext.data import ImageSource
from caffe_ext.models.cache import clear_cache, load_cached
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter, SilentReporter, StepCounter
from caffe_ext.runs.campaign_files import (
    FIGURE,
    SUMMARY,
    AttackOutcome,
    ModelOutcome,
    check_campaign_files,
    write_pictures,
    write_summary,
)
from caffe_ext.runs.compatibility import check_model, report_images, warn_of_missing_scale
from caffe_ext.runs.export import (
    EXPORT_SECONDS,
    Export,
    check_export,
    discard_export,
    export_adversarials,
    identify,
    name_model_folders,
)
from caffe_ext.runs.output_folder import check_writable, claim_output
from caffe_ext.runs.overall_progress import (
    OverallProgress,
    PlannedWork,
    choose_trial_size,
    report_estimate,
    time_attack,
)
from caffe_ext.runs.pictures.images import FinishedAttack
from caffe_ext.runs.runner import AttackRun, check_run, run_attack
from caffe_ext.runtime.checkout import shorten_path, shorten_paths


@dataclass(frozen=True)
class CampaignResult:
    """The outcome of a campaign.

    folder    of all files
    images    how many there were, including those that a model misclassifies
    models    the outcome for each
    pictures  the files with pictures that were written
    """

    folder: Path
    images: int
    models: tuple[ModelOutcome, ...]
    pictures: tuple[Path, ...]

    @property
    def summary(self) -> Path:
        """Return the file with the summary."""
        return self.folder / SUMMARY


@dataclass(frozen=True)
class AttackCampaign:
    """What is attacked, how, and where the results go.

    models      with names that differ
    attacks     one or more; no two with the same text
    source      the images
    folder      for the results; created if necessary
    limit       only the first images; None: all
    batch_size  images in a network at a time
    again       discard earlier results of these attacks in the folder
    seed        of the attacks, for the record
    criterion   what makes an image adversarial
    sample_seed draws another sample of a folder or listing, where `limit` takes one
    """

    models: Sequence[LoadableModel]
    attacks: Sequence[Attack]
    source: ImageSource
    folder: Path
    limit: int | None = None
    batch_size: int = 100
    again: bool = False
    seed: int = 0
    criterion: CriterionKind = MISCLASSIFIED
    sample_seed: int = 0

    def __post_init__(self) -> None:
        """Accept a folder given as text."""
        object.__setattr__(self, "folder", Path(self.folder))

    def run(self, reporter: Reporter | None = None) -> CampaignResult:
        """Run what is not done yet, write the summary and the pictures, and return the result.

        Everything that can be checked is checked before anything is written. Raises ValueError for
        models, attacks and images that do not fit, RecordError if the folder holds the results of
        something else or another process is writing into it, DataError for images that cannot be
        read, OSError for files that cannot be read or written.
        """
        reporter = reporter or SilentReporter()
        check_writable(self.folder)
        self._choose_folders()
        source = self.source.sample(self.limit, self.sample_seed)
        report_images(source, reporter)
        for model in self.models:
            check_model(model, self.attacks, source, self.batch_size, self.criterion)
        for remark in dict.fromkeys(one for attack in self.attacks for one in attack.remarks):
            reporter.warn(remark)
        images: dict[str, Any] = {
            "origin": shorten_paths(source.origin),
            "images": len(self.source),
            "limit": self.limit,
            "selection": source.selection,
            "labelled": source.labelled,
            "sha256": source.compute_digest(reporter),
        }
        planned = self._plan(images["sha256"], labelled=source.labelled)
        with claim_output(self.folder):
            work = self._measure(planned, source)
            report_estimate(work, 1, reporter)
            with OverallProgress(reporter, "attacks", work) as progress:
                counter = StepCounter(progress)
                outcomes = tuple(self._attack_model(one, source, counter) for one in planned)
            clear_cache()
            # The summary goes first: pictures without it are not taken for this program's.
            settings = {"seed": self.seed, "batch_size": self.batch_size, "images": images}
            write_summary(self.folder, settings, outcomes)
            pictures = write_pictures(self.folder, source, outcomes)
        for model, outcome in zip(self.models, outcomes, strict=True):
            warn_of_missing_scale(model, outcome.attacks[0].records, source, reporter)
        return CampaignResult(self.folder, len(source), outcomes, tuple(pictures))

    def _choose_folders(self) -> list[Path]:
        """Return the folders of results, one per model; ValueError if two coincide or one is a
        file.
        """
        names = name_model_folders([model.name for model in self.models], (SUMMARY, FIGURE))
        return [self.folder / name for name in names]

    def _plan(self, digest: str, *, labelled: bool) -> list[list[Export]]:
        """Return what is to be run and written for each model; nothing is written yet.

        Raises RecordError or ValueError if the folder holds something else, ValueError for names
        whose folders would be the same.
        """
        folders = self._choose_folders()
        if not self.again:
            check_campaign_files(self.folder, folders)
        planned = []
        for folder, model in zip(folders, self.models, strict=True):
            common = {"model": model.as_shown_record(), "images_sha256": digest}
            depends = identify(model, digest, labelled=labelled)
            exports = []
            for attack in self.attacks:
                run = AttackRun(attack, depends, folder, self.limit, self.again, self.criterion)
                export = Export(run, model, common)
                if not self.again:
                    check_run(run)
                    check_export(export)
                exports.append(export)
            planned.append(exports)
        return planned

    def _measure(self, planned: list[list[Export]], source: ImageSource) -> list[PlannedWork]:
        """Return what is left to run and to write, with the expected times."""
        work, count = [], len(source)
        batch = source.read(slice(choose_trial_size(count)))
        for exports in planned:
            left = [one for one in exports if one.run.again or not one.run.path.exists()]
            for export in left:
                model, attack = load_cached(export.model, self.batch_size), export.run.attack
                trial = time_attack(model, attack, batch, export.run.criterion)
                work.append(PlannedWork(attack.name, count, trial.seconds if trial else None))
            work += [PlannedWork(one.progress_title, count, EXPORT_SECONDS) for one in exports]
        return work

    def _attack_model(
        self, exports: Sequence[Export], source: ImageSource, counter: StepCounter
    ) -> ModelOutcome:
        """Run the attacks on a model, and write what they find."""
        model, done = exports[0].model, []
        counter.note(f"{model.name}: {model.shown_file}")
        classifier = load_cached(model, self.batch_size)
        for export in exports:
            if export.run.again:
                discard_export(export)
            counter.steps, began = 0, perf_counter()
            records = run_attack(classifier, source, export.run, counter)
            steps, seconds = counter.steps, perf_counter() - began
            verified = export_adversarials(classifier, source, export, records, counter)
            if not verified.all():
                wrong = [
                    export.locate_png(records, row) for row in records.found.nonzero()[0][~verified]
                ]
                counter.warn(
                    "PNG files that are not adversarial when read back: "
                    f"{len(wrong)}; the first is {shorten_path(wrong[0])}"
                )
            finished = FinishedAttack(model, export.run, records)
            done.append(
                AttackOutcome(finished, export.folder, verified, steps, seconds if steps else 0.0)
            )
        return ModelOutcome(exports[0].common["model"], exports[0].run.folder, tuple(done))
