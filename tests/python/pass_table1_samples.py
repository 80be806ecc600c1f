"""A small study of the PASS paper's Table 1, on scikit-learn's digits."""

from pathlib import Path
from typing import Any

from caffe_ext.studies.pass_table1.design import StudySettings
from caffe_ext.studies.pass_table1.study import Finding, PassStudy

SMALL = StudySettings(
    bases=1,
    orderings=2,
    rows=("FGS", "deformed", "basic", "originals"),
    iterations=60,
    fine_tuning=20,
    attacked=40,
    held_out=6,
    deformed=50,
    ranges=False,
)


def run_study(folder: Path, settings: StudySettings = SMALL, **more: Any) -> list[Finding]:
    study = PassStudy(settings, folder, digits=True)
    return study.run(study.prepare_data(), **more)
