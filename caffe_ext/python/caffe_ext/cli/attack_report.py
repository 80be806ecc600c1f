"""What hotcold.py and fastgradient.py leave when attacks are done: pictures, summary, a table."""

# The package, which loads Caffe, is imported late: --help is instant, and Ctrl-C is always clean.
# ruff: noqa: PLC0415

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from caffe_ext.cli.checkout import ROOT, shown
from caffe_ext.cli.lenet_training import aligned
from caffe_ext.storage.atomic import replacing, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from caffe_ext.data import ImageSource
    from caffe_ext.evaluation.summary import Spread
    from caffe_ext.runs.pictures.images import Finished
    from caffe_ext.runs.pictures.tiles import Picture

SHEET, FIGURE, SUMMARY = "sheet.png", "figure1.png", "summary.json"
PASS_PROTOCOL = f"PASS as defined; as in the BANG paper's tables: {SUMMARY}"


@dataclass(frozen=True, eq=False)
class AttackDone:
    """An attack on a model that is done.

    folder    of the PNG files
    verified  bool (M,), which of them are adversarial when they are read again
    images    how many were attacked now, and not by an earlier, interrupted run
    seconds   that this took
    """

    finished: "Finished"
    folder: Path
    verified: "NDArray[np.bool_]"
    images: int
    seconds: float


@dataclass(frozen=True)
class ModelDone:
    """The attacks on a model; record: settings and digests; folder: of its results."""

    record: Mapping[str, Any]
    folder: Path
    attacks: Sequence[AttackDone]

    @property
    def name(self) -> str:
        """Return the name of the model."""
        return self.attacks[0].finished.model.name


def check_report(output: Path, folders: Sequence[Path]) -> None:
    """Raise ValueError if the output holds a summary or pictures of somebody else.

    folders  of the models' results
    """
    from caffe_ext.cli.schemas import Summary
    from caffe_ext.storage.json_file import read_json

    path = output / SUMMARY
    if path.exists():
        advice = "choose another --output, or replace it with --again"
        read_json(path, Summary, advice, ValueError)
        return
    for picture in (output / FIGURE, *(folder / SHEET for folder in folders)):
        if picture.exists():
            raise ValueError(
                f"{shown(picture)} is there without {SUMMARY}, which says what it is of; choose "
                "another --output, or replace it with --again"
            )


def write_pictures(output: Path, source: "ImageSource", models: Sequence[ModelDone]) -> list[Path]:
    """Write a sheet for each model, and figure 1 if there are several; return what was written.

    Those of an earlier run that have nothing in them now are removed.
    """
    from caffe_ext.attacks import MinimumNormAttack
    from caffe_ext.runs.pictures.images import figure_rows, original, sheet_cases
    from caffe_ext.runs.pictures.sheet import contact_sheet, figure1

    written = []
    for model in models:
        finished = [attack.finished for attack in model.attacks]
        cases = sheet_cases(source, finished)
        if cases:
            names = [one.run.attack.name for one in finished]
            _save(contact_sheet(model.name, names, cases), model.folder / SHEET)
            written.append(model.folder / SHEET)
    first = [model.attacks[0].finished for model in models]
    rows = figure_rows(first).tolist()
    if len(models) > 1 and rows:
        originals = [(first[0].class_of(row), original(source, row)) for row in rows]
        found = [(one.model.name, [one.adversarial(row) for row in rows]) for one in first]
        attack = first[0].run.attack
        least = isinstance(attack, MinimumNormAttack) and attack.scale == 1
        title = f"{'Smallest adversarials' if least else 'Adversarials'}, {attack.name}"
        _save(figure1(title, originals, found), output / FIGURE)
        written.append(output / FIGURE)
    for path in [*(model.folder / SHEET for model in models), output / FIGURE]:
        if path not in written:
            path.unlink(missing_ok=True)
    return written


def _save(picture: "Picture", path: Path) -> None:
    """Write a picture, whole or not at all."""
    with replacing(path) as file:
        picture.save(file, "PNG")


def write_summary(
    arguments: argparse.Namespace, images: Mapping[str, Any], models: Sequence[ModelDone]
) -> None:
    """Write summary.json: what came out, and all that it depends on."""
    from caffe_ext.metrics.pass_score import PUBLISHED, STANDARD
    from caffe_ext.storage.provenance import provenance

    record = asdict(provenance(ROOT)) | {
        "seed": arguments.seed,
        "batch_size": arguments.batch_size,
        "images": dict(images),
        "pass_protocols": {"standard": asdict(STANDARD), "published": asdict(PUBLISHED)},
        "peak_memory_mib": peak_memory(),
        "models": [
            {**model.record, "folder": shown(model.folder), "attacks": _attacks(model)}
            for model in models
        ],
    }
    write_json(arguments.output / SUMMARY, record)


def _attacks(model: ModelDone) -> list[dict[str, Any]]:
    """Return what summary.json says of a model's attacks: an entry for each way of counting."""
    from caffe_ext.evaluation.summary import summarize

    return [
        asdict(summary)
        | {
            "records": shown(done.finished.run.path),
            "png_files": len(done.verified),
            "png_adversarial": int(done.verified.sum()),
            "images_attacked_now": done.images,
            "seconds": round(done.seconds, 3),
        }
        for done in model.attacks
        for summary in summarize(done.finished.run.attack, done.finished.records)
    ]


def print_report(
    output: Path, images: int, models: Sequence[ModelDone], pictures: Sequence[Path]
) -> None:
    """Print the table, and where the files are; pictures: those that were written."""
    from caffe_ext.reporting import pluralize

    done = [attack for model in models for attack in model.attacks]
    files = sum(len(attack.verified) for attack in done)
    good = sum(int(attack.verified.sum()) for attack in done)
    print(f"\n{table(models)}\n{PASS_PROTOCOL}\n")
    print(f"{good:,} of {files:,} PNG files are adversarial when they are read again")
    for path in (output / SUMMARY, *pictures):
        print(f"  {shown(path)}")
    attacked, seconds = sum(one.images for one in done), sum(one.seconds for one in done)
    speed = f"{attacked / seconds:,.0f} images a second" if seconds else "nothing was left to do"
    count = f"{pluralize(images, 'image')}, {pluralize(len(done), 'attack')}"
    print(f"{count}: {speed}; peak memory {peak_memory():,} MiB")


def table(models: Sequence[ModelDone]) -> str:
    """Return the table: a row for each model, attack, and way of counting."""
    from caffe_ext.evaluation.summary import summarize

    heads = ("model", "attack", "attempted", "found", "Linf", "L2 per pixel", "PASS")
    rows = [
        (
            model.name,
            summary.title,
            f"{summary.attempted:,}",
            "–" if summary.rate is None else f"{summary.rate:.2%}",
            _spread(summary.linf, 1),
            _spread(summary.l2_per_pixel, 1),
            _spread(summary.pass_scores, 3),
        )
        for model in models
        for attack in model.attacks
        for summary in summarize(attack.finished.run.attack, attack.finished.records)
    ]
    return aligned([heads, *rows])


def _spread(spread: "Spread | None", digits: int) -> str:
    """Return mean and standard deviation as the table has them."""
    return f"{spread.mean:.{digits}f} ± {spread.std:.{digits}f}" if spread else "–"


def peak_memory() -> int:
    """Return the most memory that this process has had, in MiB.

    Not getrusage's, which Linux passes on from the process that started this one.
    """
    found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) // 1024 if found else 0
