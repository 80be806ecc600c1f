"""The study of the PASS paper's Table 1: what is trained and measured, and tables."""

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffe_ext.attacks.deform import Deformation
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.cli import study as program
from caffe_ext.cli import study_pass_table1
from caffe_ext.data import ImageSet, open_images, read_database
from caffe_ext.data.mixture import shuffle
from caffe_ext.models.description import read_model
from caffe_ext.runs.records import load_adversarials, load_records
from caffe_ext.studies.pass_table1 import study as study_module
from caffe_ext.studies.pass_table1.design import (
    FIGURE_6,
    HELD_OUT,
    PAPER,
    RANGES,
    ROWS,
    StudyNetwork,
    StudySettings,
    list_networks,
)
from caffe_ext.studies.pass_table1.held_out import collect_held_out
from caffe_ext.studies.pass_table1.sets import make_deformed_pool, make_original_pool
from caffe_ext.studies.pass_table1.store import Measurement
from caffe_ext.studies.pass_table1.study import Finding
from caffe_ext.studies.pass_table1.table import format_console, format_markdown, write_tables
from caffe_ext.training.hard_positives.presets import PRESETS
from classifier_models import write_model
from hard_positive_samples import NETWORK, images_of, write_images
from pass_table1_samples import SMALL, run_study
from training_samples import Listener


def test_the_networks_are_the_papers() -> None:
    networks = list(list_networks(StudySettings()))
    assert len(networks) == 3 * (1 + 1 + 7 * 3 + len(RANGES))
    assert len({network.id for network in networks}) == len(networks)
    counts = Counter(network.row for network in networks if network.pass_range is None)
    assert counts == {**dict.fromkeys(ROWS, 9), "basic": 3, "deformed": 3}
    assert set(PRESETS) | {"basic", "deformed", "originals"} == set(ROWS)
    assert set(study_pass_table1.ROWS) == set(ROWS)
    ranged = [network for network in networks if network.pass_range]
    assert {(network.row, network.ordering) for network in ranged} == {(FIGURE_6, 1)}
    ends = [end for low_high in RANGES for end in low_high]
    assert ends == [None, 0.5, 0.5, 0.6, 0.6, 0.7, 0.7, 0.8, 0.8, 0.9, 0.9, None]
    assert len(HELD_OUT) == 14
    assert PAPER["basic"][2] == max(paper[2] for paper in PAPER.values()) == 64.21


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bases": 0}, "bases must be 1 or more"),
        ({"attacked": 0}, "attacked must be 1 or more"),
        ({"seed": -1}, "the seed must be 0 or more"),
        ({"rows": ("FGS", "HC")}, "unknown row"),
        ({"rows": ()}, "the rows are HC-D-9-1.05"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


def test_deformed_digits_depend_on_their_number_alone() -> None:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, 1, 12, 12), np.uint8)
    originals = ImageSet(images, np.arange(5))
    pool = make_deformed_pool(originals, 12, seed=3)
    assert pool.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    some = pool.read(np.array([2, 7]))
    for row, image in zip((2, 7), some, strict=True):
        drawn = Deformation(seed=3).deform(images[2], np.random.default_rng([3, row]))
        assert np.array_equal(image, drawn)
    assert (some[0] != some[1]).any()
    first, second = (
        np.concatenate([part.images for part in shuffle([pool], (1, 12, 12), 1, at_a_time)])
        for at_a_time in (5, 12)
    )
    assert np.array_equal(first, second)
    rows = np.array([0, 3])
    assert np.array_equal(make_original_pool(originals).read(rows), images[rows])


def test_the_held_out_adversarials_are_of_all_networks(tmp_path: Path) -> None:
    """Two networks, so that each gets half of the images."""
    network = NETWORK.format(channels=1).replace("num_output: 4", "num_output: 10")
    models = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        write_model(folder, network, seed=2)
        (folder / "model.yaml").write_text(
            "deploy: deploy.prototxt\nweights: w.caffemodel\nscale: 0.004\n"
        )
        models.append(read_model(folder / "model.yaml"))
    classifier = models[0].load()
    write_images(tmp_path, classifier)
    source = images_of(tmp_path)
    held_out = collect_held_out(models, source, 7, tmp_path / "out", Listener())
    assert list(held_out.types) == list(HELD_OUT)
    originals = source.read(slice(None)).images.astype(float)
    for text, found in held_out.types.items():
        assert len(found) == 7, text
        assert (classifier.predict(found.images) != found.labels).all()
        # No image is there twice: they are dealt out.
        apart = np.abs(found.images[:, None] - originals[None]).sum(axis=(2, 3, 4))
        assert len(set(apart.argmin(axis=1).tolist())) == 7
    paths = [path for n in (1, 2) for path in (tmp_path / "out").glob(f"base{n}-*/hc1.h5")]
    halves = list(map(load_records, paths))
    assert [len(half) for half in halves] == [7, 7]
    # Scaled hard positives are farther away.
    lengths = {}
    for text in ("hc1", "hc1*1.05", "hc1*1.1"):
        images = held_out.types[text].images.astype(float)
        nearest = np.square(images[:, None] - originals[None]).sum(axis=(2, 3, 4)).min(axis=1)
        lengths[text] = np.sqrt(nearest).mean()
    assert lengths["hc1"] < lengths["hc1*1.05"] < lengths["hc1*1.1"]
    again = collect_held_out(models, source, 7, tmp_path / "out", Listener())
    assert again.digest == held_out.digest
    other = collect_held_out(models, source, 6, tmp_path / "other", Listener())
    assert other.digest != held_out.digest


def test_a_study_measures_what_it_says(tmp_path: Path) -> None:
    found = run_study(tmp_path)
    assert [one.network.id for one in found] == [
        *("FGS-1.1", "FGS-1.2", "deformed-1.1", "basic-1.0", "originals-1.1", "originals-1.2"),
    ]
    tests = read_database(tmp_path / "data" / "digits" / "test_lmdb")
    adversarials = {}
    base = read_model(tmp_path / "base1" / "base.yaml").load()
    for text in HELD_OUT:
        (own,) = (tmp_path / "held_out").glob("base1-*")
        path = own / f"{parse_attack(text).file_name}.h5"
        records = load_records(path)
        labels = records.labels[records.found][:6]
        images = load_adversarials(path)[:6]
        assert (base.predict(images) != labels).all()
        adversarials[text] = images, labels
    # None of the images that the network has been trained on.
    assert found[3].found.adversarial_error == 1
    for one in found:
        (path,) = (
            [tmp_path / "base1" / "base.yaml"]
            if one.network.row == "basic"
            else (tmp_path / "networks").glob(f"{one.network.id}-*.yaml")
        )
        model = read_model(path).load()
        wrong = (model.predict(tests.images) != tests.labels).sum()
        assert (one.found.images, one.found.wrong) == (len(tests), wrong)
        for text in ("fgs", "fgv", "hc9"):
            images, labels = adversarials[text]
            assert one.found.wrong_of[text] == (model.predict(images) != labels).sum()
            assert one.found.adversarials[text] == len(labels)
    count = len(read_database(tmp_path / "data" / "digits" / "train_lmdb"))
    fgs, deformed, basic, originals = (found[row].found for row in (0, 2, 3, 4))
    assert fgs.trained_on == count + fgs.hard_positives > count
    assert (deformed.trained_on, basic.trained_on, originals.trained_on) == (50, count, count)
    # Fine-tuned from the base; orderings differ.
    weights = [
        path.read_bytes()
        for name in ("FGS-1.1", "FGS-1.2", "originals-1.1", "originals-1.2")
        for path in (tmp_path / "networks").glob(f"{name}-*.caffemodel")
    ]
    assert len(set(weights)) == 4
    assert not list((tmp_path / "training").iterdir())


def measurement(wrong: int, wrong_of: int, hard: int = 7) -> Measurement:
    return Measurement(
        1000, wrong, dict.fromkeys(HELD_OUT, 50), dict.fromkeys(HELD_OUT, wrong_of), hard, 2000
    )


def test_tables_have_means_and_deviations() -> None:
    findings = [
        *(
            Finding(StudyNetwork("FGS", 1, n), measurement(wrong, 10))
            for n, wrong in ((1, 6), (2, 10))
        ),
        Finding(StudyNetwork("originals", 1, 1), measurement(9, 25)),
        Finding(StudyNetwork(FIGURE_6, 1, 1, (0.8, 0.9)), measurement(5, 5)),
        Finding(StudyNetwork(FIGURE_6, 1, 1, (None, 0.5)), measurement(7, 5)),
    ]
    text = format_console(findings)
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "0.800% ± 0.283 (0.790 ± 0.122)" in rows["FGS"]
    assert "20.00% ± 0.00 (31.06)" in rows["FGS"]
    assert rows["originals alone"].split()[-3:] == ["–", "0.900%", "50.00%"]
    assert list(rows).index("below 0.5") < list(rows).index("0.8–0.9")
    page = format_markdown(SMALL, findings, "digits")
    assert "| HC1 x 1.05 | 50 | 20.00% | 50.00% |" in page
    assert "## Figure 6" in page
    assert "## Figure 6" not in format_markdown(SMALL, findings[:3], "digits")
    assert "InfiMNIST" not in page
    deformed = Finding(StudyNetwork("deformed", 1, 1), measurement(9, 25))
    assert "InfiMNIST" in format_markdown(SMALL, [*findings, deformed], "digits")


def test_tables_without_any_adversarials(tmp_path: Path) -> None:
    none = dict.fromkeys(HELD_OUT, 0)
    found = replace(measurement(6, 0), adversarials=none, wrong_of=none)
    (tmp_path / "pass_table1_ranges.png").write_text("a picture of an earlier study")
    write_tables(tmp_path, SMALL, [Finding(StudyNetwork("FGS", 1, 1), found)], "digits")
    with (tmp_path / "pass_table1.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["error"], line["adversarial_error"], line["fgs"]) == ("0.006000", "", "")
    assert "nan" not in (tmp_path / "pass_table1.md").read_text()
    assert not (tmp_path / "pass_table1_ranges.png").exists()
    assert study_module._format(found) == "error 0.60%; there are no adversarials"


@pytest.mark.parametrize(
    "changes",
    [{"wrong": 1001}, {"wrong_of": {}}, {"wrong_of": dict.fromkeys(HELD_OUT, 51)}],
)
def test_counts_that_nothing_can_have(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"types of adv|more are misclassified"):
        replace(measurement(1, 1), **changes)


def test_the_program_writes_tables_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("pass-table1", "--digits", "--bases", "2", "--orderings", "1", "--iterations", "100"),
        *("--rows", "basic", "FGV", "--fine-tuning", "20", "--attacked", "60"),
        *("--held-out", "5", "--output", f"{tmp_path / 'out'}"),
        *("--results", f"{tmp_path / 'results'}"),
    ]
    assert program.main(arguments) == 0
    said = capsys.readouterr()
    assert "scikit-learn's handwritten digits" in said.out
    assert "no hard positives with such a PASS" in said.err
    folder = tmp_path / "results"
    record = json.loads((folder / "pass_table1.json").read_bytes())
    assert record["settings"]["held_out"] == 5
    ids = [one["id"] for one in record["networks"]]
    assert ids[:2] == ["basic-1.0", "FGV-1.1"]
    assert any(name.startswith("HC-D-9-1.05-pass-0.") for name in ids)
    with (folder / "pass_table1.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == [one["network"]["row"] for one in record["networks"]]
    assert float(lines[0]["adversarial_error"]) > 0.4  # half of them are its own
    assert "scikit-learn's" in (folder / "pass_table1.md").read_text()
    for name in ("pass_table1.png", "pass_table1_ranges.png"):
        assert (folder / name).stat().st_size > 10_000
    own = open_images(tmp_path / "out" / "base2" / "hard_positives" / "train_lmdb")
    assert own.image_shape == (1, 28, 28)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pass-table2"], "did you mean pass-table1"),
        (["pass-table1", "--rows", "HC-D-8"], "did you mean HC-D-"),
        (["pass-table1", "--held-out", "0"], "--held-out must be at least 1"),
        (["pass-table1", "--fine-tuning", "-3"], "--fine-tuning must be at least 1"),
        (["pass-table1", "--fine-tuning", f"{2**31}"], "--fine-tuning must be at most 2,147,483,"),
        (["pass-table1", "--seed", f"{2**32}"], "--seed must be at most 4,294,967,295"),
        (["pass-table1", "--digits", "--data-dir", "x"], "--data-dir does not apply to --digits"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err
