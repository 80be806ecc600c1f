"""The files of an AttackCampaign (campaign.py).

summary.json          settings, digests, provenance; what each attack did to each model
figure1.png           the same images under all models, if there are several
<model>/sheet.png     originals, perturbations, adversarials of the first images
<model>/<attack>.h5   the records (records.py)
<model>/<attack>/     the adversarials as PNG files (export.py)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from caffe_ext.attacks import MinimumNormAttack
from caffe_ext.data import ImageSource
from caffe_ext.errors import RecordError
from caffe_ext.metrics.pass_score import PUBLISHED, STANDARD
from caffe_ext.runs.pictures.images import (
    FinishedAttack,
    choose_figure_rows,
    choose_sheet_cases,
    describe_unshown_classes,
    read_original,
)
from caffe_ext.runs.pictures.sheet import draw_contact_sheet, draw_figure1
from caffe_ext.runs.pictures.tiles import Picture
from caffe_ext.runs.records import AttackRecords
from caffe_ext.runs.summary import AttackSummary, summarize
from caffe_ext.runs.titles import make_titles_distinct
from caffe_ext.runtime.checkout import shorten_path
from caffe_ext.runtime.memory import measure_peak_memory_mib
from caffe_ext.storage.atomic import replace_file, write_json
from caffe_ext.storage.json_file import Object, read_json
from caffe_ext.storage.provenance import collect_provenance

SHEET, FIGURE, SUMMARY = "sheet.png", "figure1.png", "summary.json"


@dataclass(frozen=True, eq=False)
class AttackOutcome:
    """The outcome of an attack on a model.

    folder    of the PNG files
    verified  bool (M,), which of them are adversarial when read back
    images    how many were attacked by this run instead of an earlier, interrupted one
    seconds   that this took
    """

    finished: FinishedAttack
    folder: Path
    verified: NDArray[np.bool_]
    images: int
    seconds: float

    @property
    def records(self) -> AttackRecords:
        """Return a row for each image."""
        return self.finished.records

    @property
    def summaries(self) -> tuple[AttackSummary, ...]:
        """Return the rates and means in each variant of counting."""
        run = self.finished.run
        return summarize(run.attack, self.finished.records, run.criterion)


@dataclass(frozen=True)
class ModelOutcome:
    """The attacks on a model; record: settings and digests; folder: of its results."""

    record: Mapping[str, Any]
    folder: Path
    attacks: Sequence[AttackOutcome]

    @property
    def name(self) -> str:
        """Return the name of the model."""
        return self.attacks[0].finished.model.name


@dataclass(frozen=True)
class _Summary:
    """The keys that identify summary.json as a campaign's."""

    seed: int
    images: Object
    pass_protocols: Object
    models: tuple[Object, ...]


def check_campaign_files(output: Path, folders: Sequence[Path]) -> None:
    """Raise RecordError if the output holds a summary or pictures of another program.

    folders  of the models' results
    """
    path = output / SUMMARY
    if path.exists():
        read_json(path, _Summary, "choose another --output, or replace it with --again")
        return
    for picture in (output / FIGURE, *(folder / SHEET for folder in folders)):
        if picture.exists():
            raise RecordError(
                f"{shorten_path(picture)} exists, but {SUMMARY}, which describes it, is missing; "
                "choose another --output, or replace it with --again"
            )


def write_pictures(output: Path, source: ImageSource, models: Sequence[ModelOutcome]) -> list[Path]:
    """Write a sheet for each model, and figure 1 if there are several; return what was written.

    Pictures of an earlier run that would now be empty are removed.
    """
    written = []
    for model in models:
        finished = [attack.finished for attack in model.attacks]
        cases = choose_sheet_cases(source, finished)
        if cases:
            attacks = [one.run.attack for one in finished]
            names = make_titles_distinct([(attack.name, attack.text) for attack in attacks])
            _save(draw_contact_sheet(model.name, names, cases), model.folder / SHEET)
            written.append(model.folder / SHEET)
    first = [model.attacks[0].finished for model in models]
    chosen = choose_figure_rows(first)
    rows = chosen.tolist()
    if len(models) > 1 and rows:
        originals = [(first[0].name_class(row), read_original(source, row)) for row in rows]
        found = [(one.model.name, [one.read_adversarial(row) for row in rows]) for one in first]
        attack = first[0].run.attack
        least = isinstance(attack, MinimumNormAttack) and attack.scale == 1
        title = f"{'Smallest adversarials' if least else 'Adversarials'}, {attack.name}"
        note = describe_unshown_classes(first[0], chosen)
        _save(draw_figure1(title, originals, found, note), output / FIGURE)
        written.append(output / FIGURE)
    for path in [*(model.folder / SHEET for model in models), output / FIGURE]:
        if path not in written:
            path.unlink(missing_ok=True)
    return written


def _save(picture: Picture, path: Path) -> None:
    """Write a picture, complete or not at all."""
    with replace_file(path) as file:
        picture.save(file, "PNG")


def write_summary(
    output: Path, settings: Mapping[str, Any], models: Sequence[ModelOutcome]
) -> None:
    """Write summary.json: the results, and everything that they depend on."""
    record = asdict(collect_provenance()) | {
        **settings,
        "pass_protocols": {"standard": asdict(STANDARD), "published": asdict(PUBLISHED)},
        "peak_memory_mib": measure_peak_memory_mib(),
        "models": [
            {**model.record, "folder": shorten_path(model.folder), "attacks": _list_attacks(model)}
            for model in models
        ],
    }
    write_json(output / SUMMARY, record)


def _list_attacks(model: ModelOutcome) -> list[dict[str, Any]]:
    """Return the entries of summary.json for a model's attacks, one per variant of counting."""
    return [
        asdict(summary)
        | {
            "records": shorten_path(done.finished.run.path),
            "png_files": len(done.verified),
            "png_adversarial": int(done.verified.sum()),
            "images_attacked_now": done.images,
            "seconds": round(done.seconds, 3),
        }
        for done in model.attacks
        for summary in done.summaries
    ]
