"""The content of a report, for all of its forms: the page, the tables, and the text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from caffe_ext.attacks.budget import PerturbationBudget
from caffe_ext.evaluation.certificates import Certificate
from caffe_ext.evaluation.plots import choose_attack_titles
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.evaluation.strip import Strip


@dataclass(frozen=True)
class Report:
    """The content of a report.

    images      where they come from: "origin", "sha256", "count", "limit"
    settings    what was asked for, for JSON
    provenance  from provenance.collect_provenance()
    identity    must be equal for a report to replace an earlier one
    strip       pictures; None: there is no image that all models classify correctly
    certificates
                by the names of the models; empty: nothing was certified
    """

    models: Sequence[ModelEvaluation]
    images: Mapping[str, Any]
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    identity: Mapping[str, Any]
    strip: Strip | None = None
    certificates: Mapping[str, Certificate] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """A column of the summary table: an attack in a variant."""

    title: str
    attack: str
    variant: str


def list_table_columns(models: Sequence[ModelEvaluation]) -> list[Column]:
    """Return the columns of the summary table: those of all models' suites, each once."""
    titles = choose_attack_titles(models)
    keys = dict.fromkeys(key for model in models for key in model.suite.columns)
    return [Column(titles[key], *key) for key in keys if key in titles]


def list_table_radii(models: Sequence[ModelEvaluation]) -> list[PerturbationBudget]:
    """Return the budgets of the robust accuracy: those of all models' suites, each once."""
    return list(dict.fromkeys(one.budget for model in models for one in model.robust))


def describe_variants(models: Sequence[ModelEvaluation]) -> dict[str, tuple[str, str]]:
    """Return title and meaning of the variants in which attacks are counted, by their names."""
    found: dict[str, tuple[str, str]] = {}
    for model in models:
        for variants in model.suite.variants.values():
            found |= {one.name: (one.title or one.name, one.meaning) for one in variants}
    return found
