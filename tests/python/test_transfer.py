"""caffe-ext transfer: the counts against a plain loop over the files, resumption, refused input."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest
from PIL import Image

from caffe_ext.attacks.criteria import parse_criterion
from caffe_ext.attacks.registry import parse_attack
from caffe_ext.cli import transfer
from caffe_ext.data import open_images
from caffe_ext.models.classifier import Classifier
from caffe_ext.models.description import read_model
from caffe_ext.runs.campaign import AttackCampaign
from caffe_ext.runs.records import AttackRecords, make_empty_columns
from caffe_ext.studies.transfer.figure import plot_transfer
from caffe_ext.studies.transfer.matrix import CrossEvaluation, count_transfer
from caffe_ext.studies.transfer.study import TransferStudy
from hotcold_samples import NET, refused, run, write_yaml

NAMES = ("one", "two", "three")
COUNT = 30


def write_related(folder: Path, name: str, seed: int) -> Path:
    """Write a model whose weights are partly those of all: adversarials transfer now and then."""
    path = write_yaml(folder, name)
    model = read_model(path)
    net = caffe.Net(str(model.deploy), caffe.TEST)
    for layer, (inner, bias) in net.params.items():
        shared, own = (
            np.random.default_rng([number, len(layer)]).normal(size=inner.data.shape)
            for number in (7, seed)
        )
        weights = shared + 0.8 * own
        # Without a mean: grey images are in the middle of all classes.
        inner.data[...] = weights - weights.mean(axis=1, keepdims=True)
        bias.data[...] = 0
    net.save(str(model.weights))
    return path


@pytest.fixture
def arguments(tmp_path: Path) -> list[object]:
    """Return the arguments for three models that are right about different images."""
    random = np.random.default_rng(1)
    pixels = random.integers(60, 200, (COUNT, 1, 12, 12), np.uint8)
    models = [write_related(tmp_path / name, name, seed) for seed, name in enumerate(NAMES)]
    predicted = np.array([read_model(model).load().predict(pixels) for model in models])
    labels = predicted[0].copy()
    labels[::4] = predicted[1, ::4]
    labels[1::4] = predicted[2, 1::4]
    np.savez(tmp_path / "images.npz", images=pixels, labels=labels)
    return [
        *("--model", *models, "--images", tmp_path / "images.npz"),
        *("--output", tmp_path / "out", "--attacks", "fgs*1.5", "hc1"),
    ]


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "transfer.json").read_text())
    return found


def test_the_matrices_are_what_the_files_say(
    tmp_path: Path, arguments: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, main=transfer.main) == 0
    with np.load(tmp_path / "images.npz") as saved:
        images, labels = saved["images"], saved["labels"]
    nets = [read_model(tmp_path / name / "model.yaml").load() for name in NAMES]
    (fgs, hc1) = result(tmp_path / "out")["matrices"]
    assert (fgs["attack"], hc1["attack"]) == ("fgs*1.5", "hc1")
    seen = set()
    for matrix in (fgs, hc1):
        stem = parse_attack(matrix["attack"]).file_name
        for s, source in enumerate(NAMES):
            folder = tmp_path / "out" / "attacks" / source / stem
            for t, net in enumerate(nets):
                tried = wrong = right = both = 0
                for path in folder.glob("*.png"):
                    number = int(path.name[:5])
                    with Image.open(path) as picture:
                        pixels = np.asarray(picture)[None, None]
                    fooled = net.predict(pixels)[0] != labels[number]
                    good = net.predict(images[number : number + 1])[0] == labels[number]
                    tried, wrong, right = tried + 1, wrong + fooled, right + good
                    both += fooled and good
                found = [matrix[name][s][t] for name in ("adversarials", "misclassified")]
                assert found == [tried, wrong]
                found = [matrix[name][s][t] for name in ("originals_correct", "transferred")]
                assert found == [right, both]
                assert matrix["rate_all"][s][t] == wrong / tried
                assert matrix["rate_strict"][s][t] == (both / right if right else None)
                if 0 < both < right:
                    seen.add("some transfer")
                if right < tried:
                    seen.add("some originals are misclassified")
                if wrong > both:
                    seen.add("the counts differ")
    assert len(seen) == 3
    rows = list(csv.DictReader((tmp_path / "out" / "transfer.csv").open()))
    assert len(rows) == 2 * 3 * 3
    assert rows[1]["source"] == "one"
    assert rows[1]["target"] == "two"
    assert float(rows[1]["rate_all"]) == fgs["rate_all"][0][1]
    printed = capsys.readouterr().out
    differing = [
        f"{fgs['rate_strict'][s][t]:.1%} ({fgs['rate_all'][s][t]:.1%})"
        for s, t in np.ndindex(3, 3)
        if s != t
    ]
    assert all(one in printed for one in differing)
    for suffix in ("png", "svg"):
        assert (tmp_path / "out" / f"transfer.{suffix}").stat().st_size > 10_000


def test_goes_on_where_it_was(
    tmp_path: Path, arguments: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    predict = Classifier.predict

    def counted(self: Classifier, images: Any) -> Any:
        asked.append(len(images))
        if len(asked) == stop:
            raise KeyboardInterrupt
        return predict(self, images)

    stop = -1
    monkeypatch.setattr(Classifier, "predict", counted)
    whole = [*arguments, "--output", tmp_path / "whole"]
    assert run(*whole, main=transfer.main) == 0
    pairs = 2 * 3 * 2
    stop = len(asked) - pairs // 2
    asked.clear()
    assert run(*arguments, main=transfer.main) == 130
    assert not (tmp_path / "out" / "transfer.json").exists()
    crossed = sorted((tmp_path / "out" / "crossed").rglob("*.json"))
    assert 0 < len(crossed) < pairs
    before = [path.stat().st_mtime_ns for path in crossed]
    stop = -1
    assert run(*arguments, main=transfer.main) == 0
    assert [path.stat().st_mtime_ns for path in crossed] == before
    crossed = sorted((tmp_path / "out" / "crossed").rglob("*.json"))
    assert len(crossed) == pairs
    before = [path.stat().st_mtime_ns for path in crossed]
    for name in ("transfer.csv", "transfer.svg"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert run(*arguments, main=transfer.main) == 0
    assert [path.stat().st_mtime_ns for path in crossed] == before


def test_results_of_something_else_are_kept(tmp_path: Path, arguments: list[object]) -> None:
    assert run(*arguments, main=transfer.main) == 0
    piece = min((tmp_path / "out" / "crossed").rglob("*.json"))
    saved = json.loads(piece.read_text())
    piece.write_text(json.dumps(saved | {"classes": saved["classes"][1:]}))
    assert f"{piece} is damaged" in refused(*arguments, main=transfer.main)
    piece.write_text(json.dumps(saved | {"depends": saved["depends"] | {"target": {}}}))
    assert "belongs to other adversarials" in refused(*arguments, main=transfer.main)
    assert run(*arguments, "--again", main=transfer.main) == 0
    assert json.loads(piece.read_text()) == saved
    write_yaml(tmp_path / "two", "two", seed=7)
    assert "another run (it differs in: model.weights_sha256" in refused(
        *arguments, main=transfer.main
    )


def test_refused(tmp_path: Path, arguments: list[object]) -> None:
    images = ["--images", tmp_path / "images.npz", "--output", tmp_path / "out"]
    one = ["--model", tmp_path / "one" / "model.yaml", *images]
    assert "name two or more models" in refused(*one, main=transfer.main)
    with np.load(tmp_path / "images.npz") as saved:
        np.save(tmp_path / "bare.npy", saved["images"])
    bare = [*arguments, "--images", tmp_path / "bare.npy"]
    assert "the images have no labels" in refused(*bare, main=transfer.main)
    fewer = NET.replace("num_output: 3", "num_output: 2")
    other = write_yaml(tmp_path / "other", "other", fewer)
    other.write_text("".join(other.read_text().splitlines(keepends=True)[:-1]))
    models = ["--model", tmp_path / "one" / "model.yaml", other, *images]
    assert "one has 3 classes and other 2" in refused(*models, main=transfer.main)
    assert not (tmp_path / "out").exists()


def test_fgs_is_counted_in_both_protocols() -> None:
    """Of four images that FGS breaks, the softmax of one is saturated; the target resists one."""
    columns = make_empty_columns(5)
    columns["indices"], columns["labels"] = np.arange(5), np.zeros(5, np.int64)
    columns["predicted"] = np.array([0, 0, 0, 0, 1])
    columns["attempted"] = np.array([True, True, True, True, False])
    columns["found"] = columns["attempted"].copy()
    columns["linf"][:4], columns["saturated"][2] = 1.0, True
    records = AttackRecords(**columns)
    own, others = np.array([1, 2, 1, 1]), np.array([1, 0, 3, -1])
    nothing = AttackRecords(**make_empty_columns(5))
    crossed = [
        [CrossEvaluation(records, [own, others])],
        [CrossEvaluation(nothing, [np.empty(0, np.int64)] * 2)],
    ]
    predicted = [columns["predicted"], np.array([0, 0, 0, 2, 0])]
    paper, strict = count_transfer(["a", "b"], [parse_attack("fgs")], crossed, predicted)
    assert (paper.title, strict.title) == ("FGS, paper's protocol", "FGS, strict")
    assert strict.adversarials.tolist() == [[4, 4], [0, 0]]
    assert strict.misclassified.tolist() == [[4, 3], [0, 0]]  # NaN scores, -1, are wrong, too
    assert strict.originals_correct[0].tolist() == [4, 3]
    assert strict.transferred[0].tolist() == [4, 2]
    assert paper.adversarials[0].tolist() == [3, 3]
    assert paper.transferred[0].tolist() == [3, 1]
    assert strict.find_rates("strict")[0, 1] == 2 / 3
    assert strict.find_rates("all")[0, 1] == 3 / 4
    assert np.isnan(strict.find_rates("all")[1]).all()
    assert strict.to_dict()["rate_all"][1] == [None, None]
    texts = [text.get_text() for text in plot_transfer([paper, strict]).axes[0].texts]
    assert texts == ["100", "50.0", "–", "–"]


def test_another_criterion_is_refused(tmp_path: Path) -> None:
    images = tmp_path / "images.npz"
    np.savez(images, images=np.zeros((3, 1, 12, 12), np.uint8), labels=np.arange(3))
    models = [read_model(write_related(tmp_path / name, name, 0)) for name in NAMES[:2]]
    source = open_images(str(images), homes=[])
    campaign = AttackCampaign(models, [parse_attack("hc1")], source, tmp_path / "out")
    study = TransferStudy(replace(campaign, criterion=parse_criterion("targeted=1")))
    with pytest.raises(ValueError, match="transfer counts misclassified images"):
        study.run()
    assert not (tmp_path / "out").exists()


def test_a_committee_among_the_models(tmp_path: Path, arguments: list[object]) -> None:
    (tmp_path / "all.yaml").write_text(
        "name: all\nmembers:\n" + "".join(f"  - {name}/model.yaml\n" for name in NAMES)
    )
    arguments[1:4] = [tmp_path / "one" / "model.yaml", tmp_path / "all.yaml"]
    assert run(*arguments, main=transfer.main) == 0
    for matrix in result(tmp_path / "out")["matrices"]:
        rates = np.array(matrix["rate_strict"])
        assert rates.diagonal().tolist() == [1, 1]
        assert 0 < rates[0, 1] < 1
        assert 0 < rates[1, 0] < 1
