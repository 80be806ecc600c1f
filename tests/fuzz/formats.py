"""The file formats that the programs read: for each a good file to damage, and its reader."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from caffe_ext.certification.bounds_study import read_piece
from caffe_ext.certification.exact_study import read_piece as read_decisions
from caffe_ext.certification.metrics_study import read_piece as read_metrics
from caffe_ext.data import DataError, open_images, read_record
from caffe_ext.errors import RecordError
from caffe_ext.evaluation.report import check_folder
from caffe_ext.models.loadable_file import read_loadable
from caffe_ext.runs.campaign_files import check_campaign_files
from caffe_ext.runs.records import (
    load_adversarials,
    load_description,
    load_records,
)
from caffe_ext.storage.json_file import read_json
from caffe_ext.storage.result_file import StoredResult
from caffe_ext.studies.distortion.measure import DistortionCurve
from caffe_ext.studies.human.answer_table import make_rows
from caffe_ext.studies.human.curves import compute_people_curve
from caffe_ext.studies.human.stimuli import RECORD, load_stimuli
from caffe_ext.studies.human.store import ANSWERS, AnswerStore
from caffe_ext.studies.landscape.samples import load_iris_samples
from caffe_ext.studies.landscape.search import collect_minima
from caffe_ext.studies.landscape.sensitivity import measure_sensitivity
from caffe_ext.studies.landscape.store import read_connection, read_hop, read_widths
from caffe_ext.studies.pass_table1.design import StudyNetwork, StudySettings
from caffe_ext.studies.pass_table1.store import Measurement as PassMeasurement
from caffe_ext.studies.pass_table1.store import StoredNetwork
from caffe_ext.studies.pass_table1.study import Finding
from caffe_ext.studies.pass_table1.table import format_markdown as format_pass_table
from caffe_ext.studies.robust_training.models import COLUMNS
from caffe_ext.studies.robust_training.study import Measurement, Row
from caffe_ext.studies.robust_training.table import format_console as format_report_table
from caffe_ext.studies.table1.training import read_models
from caffe_ext.sweeps.description import SweepPoint
from caffe_ext.sweeps.file import read_sweep
from caffe_ext.sweeps.reuse import find_rows, read_table
from caffe_ext.sweeps.store import PointStore
from caffe_ext.sweeps.table import make_rows as make_rows_of_points
from caffe_ext.training.folder import TrainingFolder
from caffe_ext.training.hard_positives.folder import read_set
from caffe_ext.training.settings import TrainingError, read_settings
from good_files import (
    BOUNDS,
    CONNECTION,
    CURVE,
    EXACT,
    IMAGES,
    METRICS,
    PASS_POINT,
    POINT,
    SET,
    SETTINGS,
    SOURCE,
    STATIONARY,
    TABLE,
    TRAINING,
    WIDTHS,
    counts_in,
    make_counts,
    make_first_stage,
    make_hdf5,
    make_human_study,
    make_idx,
    make_listing,
    make_lmdb,
    make_lmdb_of_pictures,
    make_mean,
    make_model,
    make_npz,
    make_numpy_mean,
    make_onnx,
    make_pictures,
    make_records,
    make_solver,
    make_stage,
    make_sweep,
    note,
)

SENTENCES = (DataError, RecordError, TrainingError, ValueError, OSError)
"""What the programs turn into a sentence and exit status 1."""


@dataclass(frozen=True)
class Format:
    """A format.

    file   the name of the file that is damaged, in the folder of a case
    make   writes the good file, and what it needs beside it, into the folder
    read   reads the file as the programs do
    """

    file: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


def use_model(name: str) -> Callable[[Path], object]:
    """Return what reads a model, and queries it."""
    return lambda folder: read_loadable(folder / name).load().predict(IMAGES)


def use_onnx(folder: Path) -> None:
    """Make a Caffe model of an ONNX file."""
    from caffe_ext.exchange.onnx_to_caffe.importer import import_model  # noqa: PLC0415

    import_model(folder / "x.onnx", "x")


def use_solver(folder: Path) -> None:
    """Read a solver file as a training does, without its data."""
    settings = read_settings(folder / "solver.prototxt", root=folder)
    (folder / "written").mkdir()
    settings.write(folder / "written")


def use_images(name: str) -> Callable[[Path], object]:
    """Return what reads images, and their labels."""

    def use(folder: Path) -> None:
        source = open_images(folder / name)
        source.load_labels()
        source.read(slice(0, 3))
        source.compute_digest()

    return use


def use_records(folder: Path) -> None:
    """Read records, and the images in them."""
    path = folder / "hc1.h5"
    load_description(path)
    load_records(path, slice(0, 5))
    load_adversarials(path)


def use_human_study(folder: Path) -> None:
    """Read what `study human export` and `plot` do."""
    stimuli = load_stimuli(folder)
    store = AnswerStore(folder, stimuli.digest)
    answers = store.read_answers(unfinished=True)
    store.count_people()
    make_rows(stimuli, answers)
    compute_people_curve(stimuli, answers)


def use_curve(folder: Path) -> None:
    """Read a curve and what the tables have of it."""
    curve = read_json(folder / "x.json", StoredResult[DistortionCurve], "remove it").found
    assert ((curve.rates >= 0) & (curve.rates <= 1)).all()
    curve.interpolate(0.1)


def place_point(folder: Path, place: Path) -> None:
    """Move x.json to where a sweep's store looks for it."""
    place.parent.mkdir()
    (folder / "x.json").rename(place)


def use_point(folder: Path) -> None:
    """Read a finished point and make the table of it."""
    store, point = PointStore(folder, keep_weights=False), SweepPoint({"seed": 1}, {"a": 1})
    place_point(folder, store.locate(point))
    stored = store.read(point)
    assert stored is not None
    make_rows_of_points([point], {point.digest: stored}, {})


def use_failure(folder: Path) -> None:
    """Read a failed point and make the table of it."""
    store, point = PointStore(folder), SweepPoint({"seed": 1}, {"a": 1})
    place_point(folder, store.locate_failure(point))
    failed = store.read_failure(point)
    assert failed is not None
    make_rows_of_points([point], {}, {point.digest: failed})


def use_minimum(folder: Path) -> None:
    """Read a minimum and measure it."""
    point, samples = read_hop(folder / "x.json", (4, 5, 3)), load_iris_samples()
    if point is not None:
        collect_minima([point, point], samples.inputs)
        measure_sensitivity(point.parameters, point.widths, samples.inputs, samples.ranges)


def use_pass_point(folder: Path) -> None:
    """Read a measured network of the study, and make the table of it."""
    found = read_json(folder / "x.json", StoredResult[PassMeasurement], "remove it").found
    networks = (StudyNetwork("FGS", 1, 1), StudyNetwork("HC-D-9-1.05", 1, 1, (0.5, 0.6)))
    findings = [Finding(network, found) for network in networks]
    format_pass_table(StudySettings(), findings, "MNIST")


def use_report_point(folder: Path) -> None:
    """Read what was measured of a model, and make the tables of it."""
    found = read_json(folder / "x.json", StoredResult[Measurement], "remove it").found
    format_report_table([Row("basic", "plain", found, found, None)])


def named(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what reads x.json under the name that its reader looks for."""

    def use(folder: Path) -> object:
        (folder / "x.json").rename(folder / name)
        return read(folder)

    return use


FORMATS = {
    "yaml": Format("model.yaml", make_model, use_model("model.yaml")),
    "committee": Format("committee.yaml", make_model, use_model("committee.yaml")),
    "prototxt": Format("deploy.prototxt", make_model, use_model("model.yaml")),
    "caffemodel": Format("w.caffemodel", make_model, use_model("model.yaml")),
    "hdf5-weights": Format("w.h5", make_model, use_model("hdf5.yaml")),
    "mean": Format("mean.binaryproto", make_mean, use_model("model.yaml")),
    "mean-npy": Format("mean.npy", make_numpy_mean, use_model("model.yaml")),
    "solver": Format("solver.prototxt", make_solver, use_solver),
    "train-net": Format("train.prototxt", make_solver, use_solver),
    "idx": Format("t10k-images-idx3-ubyte", make_idx, use_images("t10k-images-idx3-ubyte")),
    "idx-labels": Format("t10k-labels-idx1-ubyte", make_idx, use_images("t10k-images-idx3-ubyte")),
    "lmdb": Format("db/data.mdb", make_lmdb, use_images("db")),
    "lmdb-pictures": Format("db/data.mdb", make_lmdb_of_pictures, use_images("db")),
    "hdf5": Format("x.h5", make_hdf5, use_images("x.h5")),
    "npz": Format("x.npz", make_npz, use_images("x.npz")),
    "npy": Format("x.npy", make_npz, use_images("x.npy")),
    "listing": Format("list.txt", make_listing, use_images("list.txt")),
    "records": Format("hc1.h5", make_records, use_records),
    "counts": Format("counts.h5", make_counts, lambda folder: counts_in(folder).load()),
    **{
        suffix: Format(f"x.{suffix}", make_pictures, use_images(f"x.{suffix}"))
        for suffix in ("png", "jpg", "bmp", "tif", "pgm", "webp")
    },
    "training.json": Format(
        "x.json",
        note(TRAINING),
        named(
            "training.json",
            lambda folder: TrainingFolder(folder).claim(SETTINGS, again=False),
        ),
    ),
    "source.json": Format("x.json", note(SOURCE), named("source.json", read_record)),
    "hard_positives.json": Format("x.json", note(SET), named("hard_positives.json", read_set)),
    "models.json": Format(
        "x.json",
        note({"models": [{"id": "R0", "weights": "x", "settings": SETTINGS}]}),
        lambda folder: read_models(folder / "x.json"),
    ),
    "bounds.json": Format(
        "x.json",
        note(BOUNDS),
        lambda folder: read_piece(folder / "x.json", {"method": "crown"}, 5, 2),
    ),
    "exact.json": Format(
        "x.json",
        note(EXACT),
        lambda folder: read_decisions(
            folder / "x.json",
            {"search": "milp", "largest": 0.05},
            np.zeros((5, 1, 2, 2), np.uint8),
            2,
        ),
    ),
    "summary.json": Format(
        "x.json",
        note({"seed": 0, "images": {}, "pass_protocols": {}, "models": [{"name": "x"}]}),
        named("summary.json", lambda folder: check_campaign_files(folder, [])),
    ),
    "metrics.json": Format(
        "x.json",
        note(METRICS),
        lambda folder: read_metrics(folder / "x.json", {"method": "crown"}, 3),
    ),
    "report_table1.json": Format(
        "x.json",
        note(
            {
                "depends": {"count": 5},
                "found": {"images": 5, "correct": dict.fromkeys(COLUMNS, 4), "certified": 3},
            }
        ),
        use_report_point,
    ),
    "landscape_minimum.json": Format("x.json", note({"point": STATIONARY}), use_minimum),
    "landscape_connection.json": Format(
        "x.json", note(CONNECTION), lambda folder: read_connection(folder / "x.json", (4, 5, 3))
    ),
    "landscape_widths.json": Format(
        "x.json", note(WIDTHS), lambda folder: read_widths(folder / "x.json", 3)
    ),
    "distortion_curve.json": Format("x.json", note(CURVE), use_curve),
    "stage_set.json": Format("stage/set.json", make_first_stage, make_stage),
    "pass_table1.json": Format(
        "x.json",
        note({"depends": {"base": "x"}, "found": PASS_POINT}),
        use_pass_point,
    ),
    "pass_table1_network.json": Format(
        "x.json",
        note({"depends": {"seed": 1}, "weights_sha256": "0" * 64, "hard_positives": 4}),
        lambda folder: read_json(folder / "x.json", StoredNetwork, "remove it"),
    ),
    "sweep.yaml": Format(
        "sweep.yaml", make_sweep, lambda folder: read_sweep(folder / "sweep.yaml")
    ),
    "sweep_point.json": Format("x.json", note(POINT), use_point),
    "sweep_table.json": Format(
        "x.json", note(TABLE), lambda folder: find_rows([read_table(folder / "x.json")])
    ),
    "sweep_failure.json": Format(
        "x.json", note({"error": "x", "log": "y", "worker": "z", "values": {"a": "1"}}), use_failure
    ),
    "stimuli.json": Format(RECORD, make_human_study, use_human_study),
    "answers.sqlite": Format(ANSWERS, make_human_study, use_human_study),
    "evaluation.json": Format(
        "x.json",
        note({"identity": {"seed": 0, "models": {"a": {"scale": 1.0}}}}),
        named(
            "evaluation.json",
            lambda folder: check_folder(folder, {"seed": 0, "models": {"a": {"scale": 1}}}),
        ),
    ),
}
if find_spec("onnxruntime"):
    FORMATS["onnx"] = Format("x.onnx", make_onnx, use_onnx)


def outcome(read: Callable[[Path], object], folder: Path) -> str:
    """Read a case: "" for a result or a sentence, else what was wrong."""
    try:
        read(folder)
    except SENTENCES as error:
        text = f"{error}"
        return "" if text.strip() and "\n" not in text else f"no sentence: {error!r}"
    return ""


def as_json(content: bytes) -> Any:
    """Return what is in a JSON file."""
    return json.loads(content)
