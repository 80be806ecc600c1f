"""Table 1 of the BANG paper beside the same figures for models trained here."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffe_ext.attacks.registry import parse_attack
from caffe_ext.data import ImageSource
from caffe_ext.evaluation.assessment import Assessment
from caffe_ext.evaluation.number_text import NONE, format_percent
from caffe_ext.evaluation.presets import USUAL
from caffe_ext.evaluation.report import FILES, RECORD
from caffe_ext.evaluation.report_contents import Report
from caffe_ext.models.description import ModelDescription
from caffe_ext.reporting import Reporter, format_markdown_table
from caffe_ext.runs.campaign import AttackCampaign, CampaignResult
from caffe_ext.storage.atomic import write_json, write_text
from caffe_ext.storage.json_file import Object, read_json
from caffe_ext.studies.table1.training import PAPER_VALIDATION

# Rozsa, Günther and Boult, 2018, Table 1: accuracy; then for FGS and HC1 the rate, PASS and its
# deviation, Linf and its deviation.
PAPER: Mapping[str, tuple[float, ...]] = {
    "R0": (99.16, 90.33, 0.4072, 0.1081, 40.51, 15.72, 99.53, 0.7535, 0.1143, 122.60, 49.46),
    "R1": (99.15, 91.41, 0.4072, 0.1065, 40.70, 15.88, 99.77, 0.7517, 0.1160, 122.16, 49.07),
    "B0": (99.16, 3.51, 0.6806, 0.1457, 8.34, 4.32, 95.13, 0.5359, 0.2023, 187.86, 63.66),
    "B1": (99.22, 1.68, 0.7638, 0.1367, 5.52, 2.86, 94.19, 0.4880, 0.2110, 201.84, 62.51),
    "B2": (99.31, 2.13, 0.7579, 0.1452, 5.57, 3.05, 94.56, 0.5129, 0.2015, 186.10, 63.77),
    "B3": (99.25, 3.86, 0.6763, 0.1471, 8.28, 4.26, 94.73, 0.5709, 0.2127, 178.11, 65.76),
    "B4": (99.11, 1.52, 0.8220, 0.1310, 4.19, 3.01, 97.68, 0.4669, 0.1881, 203.50, 58.97),
    "B5": (99.32, 4.45, 0.6771, 0.1487, 8.20, 4.40, 98.95, 0.6376, 0.1829, 146.96, 61.97),
}
PAPER_ITERATIONS = 10_000
HEADS = (
    "ID",
    "accuracy",
    "FGS rate",
    "FGS PASS",
    "FGS Linf",
    "HC1 rate",
    "HC1 PASS",
    "HC1 Linf",
    "FGS rate, strict",
    "FGS rate, logits",
)
ABOUT = """\
# Table 1 of the BANG paper, and {what}

Each model was trained from scratch with the settings of the paper{but}, once, and attacked on {n:,}
images ({origin}). The paper's figures are in italics.

FGS is in the paper's protocol and PASS as in the paper's tables. The last two columns are not in
the paper: the same attack where every adversarial counts, and along the logits. Where they are far
above the paper's protocol, its low rate is masking of gradients and no robustness; [the
report](report.html) says more.
"""
FIGURE = "figure1.png"


def describe_departure(iterations: int | None, validation: int, *, digits: bool) -> str:
    """Describe how a training run differs from the paper's; "" if it does not.

    iterations  None: as many as in the paper
    validation  how many images were held out; for the digits, this may differ from the paper
    """
    parts = ["on scikit-learn's digits"] if digits else []
    if not digits and validation != PAPER_VALIDATION:
        kept = f"{validation:,}" if validation else "none"
        parts.append(
            f"with {kept} of the images kept apart for validation in place of the paper's "
            f"{PAPER_VALIDATION:,}"
        )
    if iterations not in (None, PAPER_ITERATIONS):
        parts.append(f"for {iterations:,} iterations, where the paper has {PAPER_ITERATIONS:,}")
    return " and ".join(parts)


@dataclass(frozen=True)
class Table1Comparison:
    """Evaluate models and write their table beside the paper's.

    models      named as in the table
    opener      opens the images: picklable
    work        folder for records and adversarials of these models alone, from which an interrupted
                run resumes
    results     folder for the table, the report and Figure 1
    departures  from the paper's training, as from describe_departure(); "": none
    again       discard earlier results in `work`
    """

    models: Sequence[ModelDescription]
    opener: Callable[[], ImageSource]
    work: Path
    results: Path
    departures: str = ""
    again: bool = False

    def evaluate(self, reporter: Reporter | None = None) -> Report:
        """Evaluate the models as `caffe-ext evaluate` does; raises as Assessment.run()."""
        settings = USUAL.make_settings(self.opener(), again=self.again)
        folder = self.work / "evaluation"
        return Assessment(self.models, self.opener, settings, folder).run(reporter)

    def attack(self, reporter: Reporter | None = None) -> CampaignResult:
        """Make the adversarials of Figure 1; raises as AttackCampaign.run()."""
        hc1 = [parse_attack("hc1")]
        return AttackCampaign(
            self.models,
            hc1,
            self.opener(),
            self.work / "hotcold",
            limit=100,
            again=self.again,
            seed=1,
        ).run(reporter)

    def write(self) -> Path:
        """Write the table from the results of evaluate() and attack(); return its path.

        The results have the figures of all models; what broke each image stays in `work`. Removes
        the picture of earlier results that these have none of.
        """
        self.results.mkdir(parents=True, exist_ok=True)
        for path in (self.work / "evaluation" / name for name in FILES if name != RECORD):
            if path.exists():  # not all are written by every evaluation
                shutil.copyfile(path, self.results / path.name)
        report = read_json(self.work / "evaluation" / RECORD, Object, "evaluate again")
        write_json(self.results / RECORD, _drop_images(report))
        figure = self.work / "hotcold" / FIGURE
        (self.results / FIGURE).unlink(missing_ok=True)
        if figure.exists():  # of several models only, and where they get an image right
            shutil.copyfile(figure, self.results / FIGURE)
        path = self.results / "table1.md"
        write_text(path, format_markdown(report, self.departures, picture=figure.exists()))
        return path


def _drop_images(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report without the lists that have an entry for each image."""
    models = [
        model
        | {
            "robust_accuracy": [
                {name: value for name, value in one.items() if name != "broken_in"}
                for one in model["robust_accuracy"]
            ]
        }
        for model in report["models"]
    ]
    return {**report, "models": models}


def format_markdown(report: Mapping[str, Any], otherwise: str = "", *, picture: bool = True) -> str:
    """Return the table of a report (evaluation.json), the paper's figures below each model's."""
    rows = []
    for model in report["models"]:
        rows.append(_format_row(model))
        if model["name"] in PAPER:
            rows.append(_format_paper_row(PAPER[model["name"]]))
    about = ABOUT.format(
        what="models trained otherwise" if otherwise else "the same measured here",
        but=f", but {otherwise}: not comparable with the paper's figures" if otherwise else "",
        n=report["models"][0]["images"],
        origin=report["images"]["origin"],
    )
    figure = f"\n![The smallest HC1 adversarials]({FIGURE})\n" if picture else ""
    return f"{about}\n{format_markdown_table([HEADS, *rows])}\n{figure}"


def _format_row(model: Mapping[str, Any]) -> list[str]:
    """Return the row of a model."""
    by_variant = {(one["attack"], one["variant"]): one for one in model["attacks"]}
    fgs, hot = by_variant["fgs", "paper"], by_variant["hc1", "all"]
    others = [by_variant["fgs", "strict"], by_variant["margin-s", "logit"]]
    return [
        model["name"],
        f"{model['accuracy']:.2%}",
        *_format_attack(fgs),
        *_format_attack(hot),
        *(format_percent(one["rate"]) for one in others),
    ]


def _format_attack(one: Mapping[str, Any]) -> list[str]:
    """Return rate, PASS and Linf."""
    spreads = [
        NONE if one[key] is None else f"{one[key]['mean']:{form}} ± {one[key]['std']:{form}}"
        for key, form in (("pass_published", ".4f"), ("linf", ".2f"))
    ]
    return [format_percent(one["rate"]), *spreads]


def _format_paper_row(row: Sequence[float]) -> list[str]:
    """Return the paper's row, in italics."""
    cells = [f"{row[0]:.2f}%"]
    for rate, score, score_std, linf, linf_std in (row[1:6], row[6:11]):
        cells += [f"{rate:.2f}%", f"{score:.4f} ± {score_std:.4f}", f"{linf:.2f} ± {linf_std:.2f}"]
    return ["", *(f"*{cell}*" for cell in cells), "", ""]
