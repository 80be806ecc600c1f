"""caffe-ext hotcold and fastgradient on tiny models: files and output."""

import json
from pathlib import Path
from typing import Any

import caffe
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.attacks.registry import parse_attack
from caffe_ext.cli import fastgradient, hotcold
from caffe_ext.cli.attack_arguments import parse as parse_program
from caffe_ext.cli.pass_score import main as measure_pass
from caffe_ext.data import open_images, read_image, write_png
from caffe_ext.metrics.distances import compute_distances
from caffe_ext.metrics.pass_score import PUBLISHED, compute_pass_score
from caffe_ext.models.description import read_model
from caffe_ext.runs import campaign
from caffe_ext.runs import runner as attack_run
from caffe_ext.runs.export import Export, export_adversarials
from caffe_ext.runs.records import load_adversarials, load_description, load_records
from caffe_ext.runtime.checkout import ROOT
from data_samples import snapshot
from hotcold_samples import (
    COUNT,
    NAMES,
    Setting,
    entries,
    make_setting,
    refused,
    run,
    write_yaml,
)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return make_setting(tmp_path)


def test_the_files(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(setting.model.parent) | {"images": setting.images.read_bytes()}
    assert run(*setting.arguments) == 0
    found = load_records(setting.hc1.with_suffix(".h5"))
    adversarials = load_adversarials(setting.hc1.with_suffix(".h5"))
    assert not found.attempted[0]
    assert found.found.sum() >= 5
    assert len(entries(setting.hc1)) == found.found.sum() == len(list(setting.hc1.glob("*.png")))
    far = compute_distances(adversarials, setting.pixels[found.found])
    classifier = setting.classifier
    for number, entry in enumerate(entries(setting.hc1)):
        row, label, new = entry["index"], entry["label"], entry["class"]
        names = [NAMES[one].replace(" ", "_") for one in (label, new)]
        png = setting.hc1 / f"{row:05}_{names[0]}_as_{names[1]}.png"
        image = read_image(png)
        assert np.array_equal(image, adversarials[number])
        assert classifier.predict(image[np.newaxis]).tolist() == [new]
        assert label == setting.labels[row] != new
        assert (entry["label_name"], entry["class_name"]) == (NAMES[label], NAMES[new])
        assert entry["linf"] == far.linf[number] == found.linf[row]
        assert entry["l2_per_pixel"] == pytest.approx(far.l2_per_pixel[number])
        original = setting.pixels[row]
        assert entry["pass_standard"] == pytest.approx(compute_pass_score(image, original))
        published = compute_pass_score(image, original, protocol=PUBLISHED)
        assert entry["pass_published"] == pytest.approx(published)
        assert entry["verified"] is True
        assert (entry["attack"], entry["image"]) == ("HC1", str(row))
        assert entry["model"]["weights_sha256"]
    assert before == snapshot(setting.model.parent) | {"images": setting.images.read_bytes()}
    printed = capsys.readouterr().out
    count = found.found.sum()
    assert f"{count} of {count} PNG files are adversarial when they are read again" in printed
    assert "peak memory" in printed


def test_nothing_is_found(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    """An image needs more than one grey level here: no line about "0 of 0" files."""
    assert run(*setting.arguments, "--attacks", "fgs=1", "--limit", 3) == 0
    printed = capsys.readouterr().out
    assert "no adversarials were found, so that no PNG files were written" in printed
    assert "0 of 0" not in printed
    assert not list((setting.output / "tiny").rglob("*_as_*.png"))


def test_the_summary(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*setting.arguments, "--attacks", "hc1", "fgs", "--seed", 5) == 0
    summary = json.loads((setting.output / "summary.json").read_text())
    (model,) = summary["models"]
    assert [one["title"] for one in model["attacks"]] == [
        "HC1",
        "FGS, paper's protocol",
        "FGS, strict",
    ]
    hc1 = model["attacks"][0]
    found = load_records(setting.hc1.with_suffix(".h5"))
    assert (hc1["attempted"], hc1["found"]) == (COUNT - 1, found.found.sum())
    assert hc1["rate"] == pytest.approx(found.found.sum() / (COUNT - 1))
    linf = found.linf[found.found]
    assert hc1["linf"] == {"mean": pytest.approx(linf.mean()), "std": pytest.approx(linf.std())}
    assert hc1["png_files"] == hc1["png_adversarial"] == found.found.sum()
    assert (summary["seed"], summary["images"]["limit"]) == (5, 100)
    assert len(summary["images"]["sha256"]) == 64
    assert "wants any other class" in hc1["threat_model"]
    assert cv2.imread(str(setting.output / "tiny" / "sheet.png")) is not None
    assert not (setting.output / "figure1.png").exists()
    lines = capsys.readouterr().out.splitlines()
    heads = ["model", "attack", "attempted", "found", "Linf", "L2", "per", "pixel", "PASS"]
    assert lines[1].split() == heads
    assert lines[3].split()[:3] == ["tiny", "HC1", "8"]


def test_several_models_and_the_twin(setting: Setting, tmp_path: Path) -> None:
    other = write_yaml(tmp_path / "other", "other/model", seed=3)
    arguments = [*setting.arguments, "--model", setting.model, other, "--limit", 5]
    assert run(*arguments, main=fastgradient.main) == 0
    assert cv2.imread(str(setting.output / "figure1.png")) is not None
    for model in ("tiny", "other_model"):
        folder = setting.output / model
        assert {path.name for path in folder.iterdir()} >= {"fgs.h5", "fgv.h5", "fgs", "sheet.png"}
        assert len(load_records(folder / "fgv.h5")) == 5
        for entry in entries(folder / "fgs"):
            image = cv2.imread(str(next((folder / "fgs").glob(f"{entry['index']:05}*.png"))))
            assert image is not None


def test_pictures_of_an_earlier_run_are_not_shown_as_this_ones(
    setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_yaml(tmp_path / "other", "other")
    arguments = [*setting.arguments, "--model", setting.model, other]
    assert run(*arguments, "--limit", 5) == 0
    pictures = [setting.output / name for name in ("figure1.png", "tiny/sheet.png")]
    said = capsys.readouterr().out
    assert all(f"{path}" in said for path in pictures)
    # The first image is the one that the models get wrong: nothing is attempted.
    assert run(*arguments, "--limit", 1, "--again") == 0
    said = capsys.readouterr().out
    assert "1 image, 2 attacks: " in said
    for path in pictures:
        assert not path.exists()
        assert f"{path}" not in said


def test_a_picture_of_several_models_is_not_left_beside_one(
    setting: Setting, tmp_path: Path
) -> None:
    other = write_yaml(tmp_path / "other", "other")
    assert run(*setting.arguments, "--model", setting.model, other) == 0
    assert (setting.output / "figure1.png").exists()
    assert run(*setting.arguments) == 0
    assert not (setting.output / "figure1.png").exists()
    assert (setting.output / "other" / "sheet.png").exists()


def test_other_names_of_the_classes(setting: Setting) -> None:
    assert run(*setting.arguments) == 0
    before = {path.name for path in setting.hc1.iterdir()}
    first = min(path for path in setting.hc1.iterdir() if path.suffix == ".png")
    mine = {first.with_name(f"{first.stem}_mine.png"): b"mine"}
    mine[first.with_name(f"{first.stem}_as_mine.json")] = b'{"index": -1}'
    mine[first.with_name(f"{first.stem}_as_too.json")] = b"mine"
    for path, content in mine.items():
        path.write_bytes(content)
    setting.model.write_text(setting.model.read_text().replace("gold fish", "Goldfisch"))
    assert run(*setting.arguments) == 0
    expected = {name.replace("gold_fish", "Goldfisch") for name in before}
    assert expected != before
    assert {path.name for path in setting.hc1.iterdir()} == expected | {path.name for path in mine}
    assert all(path.read_bytes() == content for path, content in mine.items())


def test_long_names_of_classes(setting: Setting) -> None:
    names = {name: sign * 60 for name, sign in zip(NAMES, ("漢", "字", "n"), strict=True)}
    text = setting.model.read_text()
    for name, long in names.items():
        text = text.replace(f'"{name}"', f'"{long}"')
    setting.model.write_text(text)
    assert run(*setting.arguments) == 0
    found = load_records(setting.hc1.with_suffix(".h5")).found
    pairs = {tuple(path.stem[6:].split("_as_")) for path in setting.hc1.glob("*.png")}
    assert {part for pair in pairs for part in pair} <= {"漢" * 26, "字" * 26, "n" * 40}
    assert len(entries(setting.hc1)) == len(list(setting.hc1.glob("*.png"))) == found.sum()


def test_images_in_a_folder(setting: Setting, tmp_path: Path) -> None:
    for number, (image, label) in enumerate(zip(setting.pixels, setting.labels, strict=True)):
        (tmp_path / "png" / str(label)).mkdir(parents=True, exist_ok=True)
        write_png(tmp_path / "png" / str(label) / f"{number}.png", image)
    before = snapshot(tmp_path / "png")
    assert run(*setting.arguments, "--images", tmp_path / "png", "--limit", 0) == 0
    for entry in entries(setting.hc1):
        label, name = entry["image"].split("/")
        assert (int(label), entry["label"]) == (entry["label"], setting.labels[int(name[:-4])])
    assert snapshot(tmp_path / "png") == before


def test_what_the_options_mean() -> None:
    def names(*given: str) -> list[str]:
        return hotcold.list_attack_names(parse_program(hotcold.PROGRAM, given), NAMES)

    assert names() == ["hc1"]
    assert names("--hot", "1-3", "5") == ["hc1", "hc2", "hc3", "hc5"]
    assert names("--target", "gold fish", "2", "--sign") == ["hot:1-s", "hot:2-s"]
    assert names("--through", "ip1", "a/b") == ["hc1@ip1", "hc1@a/b"]
    assert names("--scale", "1", "1.05") == ["hc1", "hc1*1.05"]
    for name in (*names("--through", "a/b", "--scale", "1.1", "--sign"), "hot:7@x"):
        assert parse_attack(name)

    def gradients(*given: str) -> list[str]:
        return fastgradient.list_attack_names(parse_program(fastgradient.PROGRAM, given), ())

    assert gradients() == ["fgs", "fgv"]
    assert gradients("--logits", "--through", "ip1")[2:] == ["margin-s@ip1", "margin@ip1"]
    assert gradients("--epsilon", "8", "16")[:2] == ["fgs=8.0", "fgs=16.0"]
    assert gradients("--epsilon", "8/255", "0.2of1")[:2] == ["fgs=8.0", "fgs=51.0"]


def test_files_that_are_not_adversarial_are_marked(setting: Setting) -> None:
    assert run(*setting.arguments) == 0
    found = load_records(setting.hc1.with_suffix(".h5"))

    class Stubborn:
        batch_size = 100

        def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
            labels = found.labels[found.found]
            other = np.where(np.arange(len(images)) == 1, labels, (labels + 1) % len(NAMES))
            return np.eye(len(NAMES), dtype=np.float32)[other]

    model = read_model(setting.model)
    run_of = attack_run.AttackRun(parse_attack("hc1"), {}, setting.output / "tiny")
    source = open_images(setting.images)
    export = Export(run_of, model, {})
    verified = export_adversarials(Stubborn(), source, export, found)  # type: ignore[arg-type]
    assert verified.tolist() == [number != 1 for number in range(found.found.sum())]
    assert [entry["verified"] for entry in entries(setting.hc1)] == verified.tolist()


def test_a_warning_if_files_are_not_adversarial(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flawed(*given: Any) -> NDArray[np.bool_]:
        verified = export_adversarials(*given)
        verified[0] = False
        return verified

    monkeypatch.setattr(campaign, "export_adversarials", flawed)
    assert run(*setting.arguments) == 0
    told, first = capsys.readouterr(), min(setting.hc1.glob("*.png"))
    sentence = f"PNG files that are not adversarial when read back: 1; the first is {first}"
    assert f"WARNING: {sentence}" in told.err
    count = len(entries(setting.hc1))
    assert f"{count - 1} of {count} PNG files" in told.out


def test_without_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy = ROOT / "prototxt" / "lenet_deploy.prototxt"
    folders = {name: tmp_path / name for name in ("LeNet", "LeNet with BANG")}
    for number, folder in enumerate(folders.values()):
        folder.mkdir()
        caffe.set_random_seed(number)
        net = caffe.Net(str(deploy), caffe.TEST)
        for blobs in net.params.values():
            blobs[0].data[...] = np.random.default_rng(number).normal(size=blobs[0].shape) / 30
        net.save(str(folder / "a_iter_5.caffemodel"))
    monkeypatch.setattr("caffe_ext.cli.model_arguments.DEMO", folders)
    monkeypatch.setattr("caffe_ext.cli.image_arguments.HOMES", ())
    monkeypatch.setattr("caffe_ext.cli.image_arguments.DEMO_RECORD", tmp_path / "result.json")
    monkeypatch.delenv("CAFFE_EXT_DATA", raising=False)
    assert run("--output", tmp_path / "out", "--limit", 30) == 0
    told = capsys.readouterr()
    assert "images: the first 30 of 300, digits, test images: scikit-learn's" in told.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [model["name"] for model in summary["models"]] == list(folders)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    for main in (hotcold.main, fastgradient.main):
        with pytest.raises(SystemExit) as end:
            run("--help", main=main)
        assert end.value.code == 0
        told = capsys.readouterr().out
        for word in ("bim=8", "00017_7_as_2.json", "--help-model", "default: 100; 0: all"):
            assert word in told
        assert max(map(len, told.splitlines())) <= 100


def test_folders_called_after_classes_are_labels(
    setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (image, label) in enumerate(zip(setting.pixels, setting.labels, strict=True)):
        place = tmp_path / "photos" / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        write_png(place / f"{number}.png", image)
    rest = ["--model", setting.model, "--images", tmp_path / "photos"]
    assert run(*rest, "--output", setting.output) == 0
    assert "no labels" not in capsys.readouterr().err
    records = load_records(setting.hc1.with_suffix(".h5"))
    assert sorted(records.labels) == sorted(setting.labels)
    assert records.attempted.sum() == COUNT - 1
    assert run(*rest, "--output", tmp_path / "some", "--limit", 3) == 0
    summary = json.loads((tmp_path / "some" / "summary.json").read_text())
    assert summary["images"]["selection"].startswith(f"a sample of 3 of {COUNT}, each class")


def test_images_without_labels_are_said_to_have_none(
    setting: Setting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "x.npy", setting.pixels)
    rest = ["--model", setting.model, "--output", setting.output]
    assert run(*rest, "--images", tmp_path / "x.npy") == 0
    assert "WARNING: the images have no labels" in capsys.readouterr().err
    assert json.loads((setting.output / "summary.json").read_text())["images"]["labelled"] is False
    description = load_description(setting.hc1.with_suffix(".h5"))
    assert description["images"]["labelled"] is False
    assert entries(setting.hc1)
    for entry in entries(setting.hc1):
        assert (entry["label"], "label_name" in entry) == (None, False)
        predicted = entry["predicted_name"].replace(" ", "_")
        new = entry["class_name"].replace(" ", "_")
        assert (setting.hc1 / f"{entry['index']:05}_predicted_{predicted}_as_{new}.png").exists()
    # It goes on, and is not taken for a run with labels.
    assert run(*rest, "--images", tmp_path / "x.npy") == 0
    assert "differs in" in refused(*rest, "--images", setting.images)


def test_originals_lie_beside_the_adversarials(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*setting.arguments) == 0
    names = sorted(path.name for path in setting.hc1.glob("*.png"))
    originals = setting.hc1 / "originals"
    assert names == sorted(path.name for path in originals.iterdir())
    for name in names:
        assert (read_image(originals / name) == setting.pixels[int(name[:5])]).all()
    capsys.readouterr()
    assert measure_pass([str(setting.hc1), str(originals), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)["pairs"]
    found = {entry["index"]: entry for entry in entries(setting.hc1)}
    assert len(measured) == len(found)
    for pair in measured:
        entry = found[int(Path(pair["adversarial"]).name[:5])]
        assert pair["linf"] == entry["linf"]
        assert pair["pass_score"] == pytest.approx(entry["pass_standard"])
    assert run(*setting.arguments, "--again", "--limit", "1") == 0
    assert list(originals.iterdir()) == []


def test_another_criterion(setting: Setting) -> None:
    target = (int(setting.labels[1]) + 1) % 3
    assert run(*setting.arguments, "--criterion", f"targeted={target}", "--attacks", "hc1") == 0
    folder = setting.output / "tiny" / f"hc1~targeted={target}"
    assert {entry["class"] for entry in entries(folder)} == {target}
    assert all(entry["verified"] for entry in entries(folder))
    assert all(entry["label"] != target for entry in entries(folder))
    summary = json.loads((setting.output / "summary.json").read_text())
    (attack,) = summary["models"][0]["attacks"]
    assert attack["threat_model"].endswith(f"; wants class {target}")
    assert "can be at most 2, not 3: the network has 3 classes" in refused(
        *setting.arguments, "--criterion", "top-k=3"
    )
    assert "unknown criterion 'x'" in refused(*setting.arguments, "--criterion", "x")
