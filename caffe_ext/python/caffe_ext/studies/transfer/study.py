"""TransferStudy: attack models, try the adversarials on all of them, and write the matrices.

    models = [read_model(Path("prototxt/lenet.yaml"), file) for file in (plain, bang)]
    attacks = [parse_attack("pgd=25")]
    study = TransferStudy(AttackCampaign(models, attacks, open_images("mnist"), Path("out")))
    study.run().matrices[0].find_rates("strict")

transfer.json        the matrices, the protocol, and all that they depend on
transfer.csv         one row per attack, source and target
transfer.png, .svg   the rates as a figure
attacks/             the attacks: an AttackCampaign (runs/campaign.py)
crossed/             each model's classes of the others' adversarials; runs resume here
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.attacks.criteria import MISCLASSIFIED
from caffe_ext.errors import RecordError
from caffe_ext.evaluation.report import as_csv
from caffe_ext.models.base import Ints
from caffe_ext.models.cache import load_cached
from caffe_ext.models.loadable import LoadableModel
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runs.campaign import AttackCampaign, CampaignResult
from caffe_ext.runs.export import make_plain_name
from caffe_ext.runs.output_folder import check_writable, claim_output
from caffe_ext.runs.pictures.images import FinishedAttack
from caffe_ext.runs.records import read_adversarial_batches
from caffe_ext.runtime.checkout import shorten_path, shorten_paths
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.description import check_same
from caffe_ext.storage.figure_file import save_png_and_svg
from caffe_ext.storage.json_file import Object, read_json
from caffe_ext.storage.provenance import collect_provenance
from caffe_ext.studies.transfer.figure import plot_transfer
from caffe_ext.studies.transfer.matrix import CrossEvaluation, TransferMatrix, count_transfer

RESULTS, ATTACKS, CROSSED = "transfer", "attacks", "crossed"
PROTOCOL = {
    "images": "each source is attacked on the images that it classifies correctly",
    "criterion": "misclassified: the target's class differs from the label",
    "all": "misclassified by the target / adversarials of the source (Szegedy et al., 2014)",
    "strict": "the same of those adversarials whose originals the target classifies correctly",
    "variants": "FGS, paper's protocol: without images of saturated softmax at the source",
}


@dataclass(frozen=True)
class TransferResult:
    """The matrices, and the campaign behind them."""

    matrices: tuple[TransferMatrix, ...]
    campaign: CampaignResult


@dataclass(frozen=True)
class TransferStudy:
    """An attack campaign whose adversarials are tried on all of its models.

    campaign  of two or more models with the same number of classes, on images with labels; its
              folder is that of the results
    """

    campaign: AttackCampaign

    def run(self, reporter: Reporter | None = None) -> TransferResult:
        """Do everything that is not done yet, write the results, and return them.

        Raises ValueError for fewer than two models, different numbers of classes, another
        criterion, or images without labels, and whatever AttackCampaign.run() raises.
        """
        reporter = reporter or SilentReporter()
        asked = self.campaign
        check_writable(asked.folder)
        if len(asked.models) < 2:
            raise ValueError("transfer is from one model to another: name two or more models")
        if asked.criterion != MISCLASSIFIED:
            raise ValueError("transfer counts misclassified images: leave the criterion out")
        if not asked.source.labelled:
            raise ValueError(
                f"{shorten_paths(asked.source.origin)}: the images have no labels, which transfer "
                "needs; give them with --labels"
            )
        self._check_classes()
        with claim_output(asked.folder):
            campaign = replace(asked, folder=asked.folder / ATTACKS).run(reporter)
            finished = [[one.finished for one in model.attacks] for model in campaign.models]
            crossed = self._evaluate_on_all(finished, reporter)
            # Every attack's records have its model's predictions for all images.
            predicted = [attacks[0].records.predicted for attacks in finished]
            names = [model.name for model in asked.models]
            matrices = count_transfer(names, asked.attacks, crossed, predicted)
            self._write(matrices, finished)
        return TransferResult(tuple(matrices), campaign)

    def _check_classes(self) -> None:
        """Raise ValueError unless all models have the same number of classes."""
        first, *others = self.campaign.models
        classes = load_cached(first, self.campaign.batch_size).classes
        for other in others:
            found = load_cached(other, self.campaign.batch_size).classes
            if found != classes:
                raise ValueError(
                    f"{first.name} has {classes} classes and {other.name} {found}: what is "
                    "adversarial for one means nothing for the other"
                )

    def _evaluate_on_all(
        self, finished: Sequence[Sequence[FinishedAttack]], reporter: Reporter
    ) -> list[list[CrossEvaluation]]:
        """Return all models' classes of the adversarials; only the target's net is in memory."""
        count, number_of_attacks = len(finished), len(self.campaign.attacks)
        digests = [[_hash_adversarials(one) for one in attacks] for attacks in finished]
        classes: dict[tuple[int, int, int], Ints] = {}
        with reporter.show_progress("transfer", count**2 * number_of_attacks, "pair") as step:
            for to, target in enumerate(self.campaign.models):
                for of, number in np.ndindex(count, number_of_attacks):
                    one = finished[of][number]
                    classes[of, number, to] = (
                        one.records.classes[one.records.found]
                        if of == to
                        else self._classify(one, digests[of][number], target)
                    )
                    step(1)
        return [
            [
                CrossEvaluation(one.records, [classes[of, number, to] for to in range(count)])
                for number, one in enumerate(attacks)
            ]
            for of, attacks in enumerate(finished)
        ]

    def _classify(self, one: FinishedAttack, digest: str, target: LoadableModel) -> Ints:
        """Return the target's classes of the adversarials, int64 (M,), from the file if it exists.

        digest  of the adversarials
        """
        name = f"{make_plain_name(one.model.name)}~{one.run.file_stem}.json"
        path = self.campaign.folder / CROSSED / make_plain_name(target.name) / name
        depends = {
            "attack": one.run.description,
            "target": target.identify(),
            "adversarials_sha256": digest,
        }
        if path.exists() and not self.campaign.again:
            return _read(path, depends, int(one.records.found.sum()))
        model = load_cached(target, self.campaign.batch_size)
        batches = read_adversarial_batches(one.run.path, self.campaign.batch_size)
        parts = [model.predict(images) for _, images in batches]
        found = np.concatenate([np.empty(0, np.int64), *parts])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"depends": depends, "classes": found.tolist()}, indent=None)
        return found

    def _write(
        self, matrices: Sequence[TransferMatrix], finished: Sequence[Sequence[FinishedAttack]]
    ) -> None:
        """Write the files with the results."""
        asked, run = self.campaign, finished[0][0].run
        path = asked.folder / RESULTS
        record = asdict(collect_provenance()) | {
            "protocol": PROTOCOL,
            "seed": asked.seed,
            "limit": asked.limit,
            "images": {"origin": shorten_paths(asked.source.origin), **run.identity["images"]},
            "models": [model.as_shown_record() for model in asked.models],
            "matrices": [one.to_dict() for one in matrices],
        }
        write_json(path.with_suffix(".json"), record)
        rows = [row for one in matrices for row in one.list_rows()]
        write_text(path.with_suffix(".csv"), as_csv(rows))
        # The pictures last: whatever there is that cannot be drawn, the results are on the disk.
        save_png_and_svg(plot_transfer(matrices), path)


@dataclass(frozen=True)
class _SavedRecord:
    """Content of a file in crossed/."""

    depends: Object
    classes: list[int]


def _read(path: Path, depends: dict[str, Any], count: int) -> Ints:
    """Return the classes in a file; RecordError if it is damaged or about something else."""
    advice = "discard the old results with --again"
    saved = read_json(path, _SavedRecord, advice)
    check_same(
        depends, saved.depends, f"{shorten_path(path)} belongs to other adversarials", advice
    )
    if len(saved.classes) != count:
        raise RecordError(
            f"{path} is damaged: it has {len(saved.classes)} classes for {count}; {advice}"
        )
    return np.array(saved.classes, np.int64)


def _hash_adversarials(one: FinishedAttack) -> str:
    """Return a digest of the adversarials that were found."""
    digest = sha256()
    for _, images in read_adversarial_batches(one.run.path, 1000):
        digest.update(images.tobytes())
    return digest.hexdigest()
