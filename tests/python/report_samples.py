"""Fixtures for the tests of evaluations and of their reports, each made once for all of them."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from caffe_ext.evaluation.masking import Evidence, find_warnings
from caffe_ext.evaluation.report import make_table_row
from caffe_ext.evaluation.report_contents import Report, list_table_columns, list_table_radii
from caffe_ext.evaluation.result import ModelEvaluation
from caffe_ext.storage.provenance import collect_provenance
from evaluation_samples import NOISE, evaluated

IDENTITY = {"models": {"masked": 1}, "limit": None, "seed": 1}


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelEvaluation, ...]:
    """Return the evaluations of evaluation_samples' models, "masked" and "open"."""
    return evaluated(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="session")
def report(pair: tuple[ModelEvaluation, ...]) -> Report:
    """Return a report about them, one with warnings and a name to be escaped."""
    models = list(pair)
    # Four images are too few for warnings.
    warnings = find_warnings(Evidence(1000, 0.5, 0.75, 1.0, 0.5, 0.25, 0.0))
    models[0] = replace(models[0], name="<masked> & co", warnings=warnings)
    return Report(
        models=models,
        images={"origin": "five flat images", "count": 5, "limit": None, "sha256": "0" * 64}
        | {"selection": "all 5", "labelled": True},
        settings={"seed": 1, "noise": asdict(NOISE)},
        provenance=asdict(collect_provenance()),
        identity=IDENTITY,
    )


def row_of(model: ModelEvaluation) -> dict[str, Any]:
    return make_table_row(model, list_table_columns([model]), list_table_radii([model]))
