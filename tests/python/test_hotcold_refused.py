"""caffe-ext hotcold: refused input and failures; nothing is written or lost."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.cli import fastgradient
from caffe_ext.data import write_png
from caffe_ext.runs import campaign
from caffe_ext.runs import export as adversarial_files
from caffe_ext.runs.records import load_records
from caffe_ext.storage.lock import lock_folder
from classifier_models import write_model
from data_samples import snapshot
from hotcold_samples import NET, Setting, entries, make_setting, refused, run, write_yaml


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return make_setting(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--through", "nowhere"], "tiny: the net has no blob 'nowhere'; it has data, inner,"),
        (["--through", "data"], "tiny: blob 'data' is not between"),
        (["--hot", "3"], "tiny: the rank of the hot class can be at most 2, not 3: the network"),
        (["--hot", "x"], "--hot takes ranks, 1 or more, or a range such as 1-9, not 'x'"),
        (["--hot", "0"], "--hot takes ranks"),
        (["--hot", "1", "--target", "1"], "--hot and --target both choose the hot class"),
        (["--target", "3"], "tiny: the hot class must be one of 0..2, not 3"),
        (["--target", "whale"], "'whale' is not a class: give its number or its name; the "),
        (["--scale", "1e308"], "the scale of a hard positive must be from 1 to 1,000,000, not"),
        (["--attacks", "fgsm"], "unknown attack 'fgsm' (did you mean fgs?); known attacks:\n  fgs"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--resize", "8x8"], "tiny: the images are 8 x 8 grey and the network takes 12 x 12 grey"),
        (["--resize", "8x8"], "; use --resize 12x12"),
        (["--colour"], "12 x 12 colour and the network takes 12 x 12 grey; use --grey"),
        (["--colour", "--resize", "9x9"], " 12 x 12 grey; use --grey --resize 12x12"),
        (["--images", "/no/where"], "/no/where does not exist; images are read from"),
    ],
)  # fmt: skip
def test_refused(setting: Setting, arguments: list[str], sentence: str) -> None:
    assert sentence in refused(*setting.arguments, *arguments)
    assert not setting.output.exists()


def test_a_layer_without_a_backward_pass(setting: Setting) -> None:
    """The message says which attacks do without; and they do."""
    threshold = "layer { name: 'step' type: 'Threshold' bottom: 'data' top: 'bits' }"
    first, *rest = NET.replace("bottom: 'data'", "bottom: 'bits'").split("layer { name: 'inner'")
    write_yaml(setting.model.parent, net=f"{first}{threshold}\nlayer {{ name: 'inner'{rest[0]}")
    sentence = refused(*setting.arguments, "--attacks", "apgd=8")
    assert "tiny: layer 'step' has no backward pass (Threshold); of the attacks, squ" in sentence
    assert run(*setting.arguments, "--attacks", "square=8x5") == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--attacks", "fgs", "--hot", "1"], "--attacks and --hot cannot be combined"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--grey", "--colour"], "argument --colour: not allowed with argument --grey"),
        (["--limit", "x"], "must be a number of images"),
        (["--scale", "0.5"], "argument --scale: must be a number of at least 1, not '0.5'"),
        (["--scale", "nan"], "argument --scale: must be a number of at least 1, not 'nan'"),
        (["--through", ""], "argument --through: must be the name of a blob"),
        (["--through", "a*2"], "argument --through: must be the name of a blob"),
    ],
)
def test_no_sense(
    setting: Setting, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(*setting.arguments, *arguments)
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--epsilon=-1"], "argument --epsilon: a distance must be in grey levels (8) or in 0..1"),
        (["--epsilon", "0"], "argument --epsilon: must be above 0, not 0"),
        (["--epsilon", "inf"], "argument --epsilon: a distance must be in grey levels (8)"),
        (["--epsilon", "0.5/255"], "argument --epsilon: 0.5/255 is less than one grey level: no"),
        (["--epsilon", "0.002of1"], "argument --epsilon: 0.002of1 is less than one grey level"),
        (["--through", ""], "argument --through: must be the name of a blob"),
    ],
)
def test_no_sense_of_the_twin(
    setting: Setting, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(*setting.arguments, *arguments, main=fastgradient.main)
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


def test_wrong_models(setting: Setting, tmp_path: Path) -> None:
    _, weights = write_model(tmp_path / "narrow", NET.replace("num_output: 6", "num_output: 5"))
    says = refused(*setting.arguments, "--weights", weights)
    assert "'inner'" in says
    assert "w.caffemodel" in says
    twin = write_yaml(tmp_path / "twin", '"tiny "')
    same = [*setting.arguments, "--model", setting.model, twin]
    assert "the models 'tiny' and 'tiny ' would share the folder tiny" in refused(*same)
    gone = tmp_path / "gone.caffemodel"
    assert f"weights: {gone} is not a file" in refused(*setting.arguments, "--weights", gone)
    assert not setting.output.exists()


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("crop: 10", "tiny: `crop: 10` in its YAML file differs from the network's input, 12 x"),
        (
            "mean: [1, 2]",
            "tiny: the images are grey (channels: 1) and the mean (2,) has 2 channels: `mean:` in ",
        ),
        ("mean: [1, 2, 3]", "tiny: the images are grey (channels: 1) and the mean (3,) has 3 chan"),
        (
            "mean: m.npy",
            "tiny: the images are 12 x 12 and the mean image is 14 x 13; use --resize 14x",
        ),
    ],
)
def test_sizes_that_do_not_fit(setting: Setting, line: str, sentence: str) -> None:
    np.save(setting.model.parent / "m.npy", np.zeros((1, 14, 13), np.float32))
    with setting.model.open("a") as file:
        file.write(f"{line}\n")
    assert refused(*setting.arguments).startswith(sentence)


def test_two_classes_of_one_name(setting: Setting) -> None:
    text = setting.model.read_text()
    setting.model.write_text(text.replace('"gold fish"', '"shark"'))
    says = refused(*setting.arguments, "--target", "whale")
    assert says.endswith("the names are 'tench', 'shark', 'shark' ...")
    says = refused(*setting.arguments, "--target", "shark")
    assert says == "several classes are called 'shark': give the number, of 1, 2"


def test_classes_with_other_numbers_in_another_model(setting: Setting, tmp_path: Path) -> None:
    other = write_yaml(tmp_path / "other", "other")
    text = other.read_text()
    arguments = [*setting.arguments, "--model", setting.model, other, "--target", "shark"]
    other.write_text(text.replace('"gold fish", "shark"', '"shark", "gold fish"'))
    assert refused(*arguments) == (
        "the models number their classes differently: hot:2 in tiny is hot:1 in other; give "
        "the class by its number"
    )
    assert refused(*arguments, "tench").startswith("the models number their classes differently")
    other.write_text(text.replace('"shark"', '"whale"'))
    says = refused(*arguments)
    assert says.startswith(
        "other: 'shark' is not a class: give its number or its name; the names are"
    )
    assert not setting.output.exists()
    assert run(*arguments, "--target", "2") == run(*arguments, "--target", "tench", "--again") == 0


def test_the_model_is_named_once(setting: Setting) -> None:
    text = setting.model.read_text()
    setting.model.write_text(text.replace('"gold fish", ', ""))
    says = refused(*setting.arguments)
    assert says.startswith("tiny: `classes:` has 2 names, but the network ")


def test_wrong_images(setting: Setting, tmp_path: Path) -> None:
    folder = tmp_path / "png"
    folder.mkdir()
    assert "png holds no image files" in refused(*setting.arguments, "--images", folder)
    for number in range(3):
        write_png(folder / f"{number}.png", setting.pixels[number])
    damaged = folder / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:40])
    says = refused(*setting.arguments, "--images", folder)
    assert says == f"{damaged} is not an image that OpenCV can read"
    labels = tmp_path / "labels.txt"
    write_png(damaged, setting.pixels[2])
    labels.write_text("0.png 0\n1.png 7\n2.png 1\n")
    says = refused(*setting.arguments, "--images", folder, "--labels", labels)
    assert (
        says == "tiny: label 7 of image 1 (1.png) does not exist: the network has 3 classes, 0..2"
    )
    write_png(damaged, np.zeros((3, 12, 12), np.uint8))
    says = refused(*setting.arguments, "--images", folder)
    assert "0.png is grey and 2.png is in colour; make all grey or all RGB (--grey or --c" in says
    assert not setting.output.exists()


def test_output_that_cannot_be(setting: Setting, capsys: pytest.CaptureFixture[str]) -> None:
    setting.output.write_text("mine")
    assert f"{setting.output} is not a folder" in refused(*setting.arguments)
    assert "is not a folder" in refused(*setting.arguments, "--output", setting.output / "below")
    assert setting.output.read_text() == "mine"
    assert capsys.readouterr().out == ""


def test_results_of_something_else(setting: Setting, tmp_path: Path) -> None:
    assert run(*setting.arguments) == 0
    before = snapshot(setting.output)
    for change in (["--limit", 4], ["--model", write_yaml(tmp_path / "second", seed=4)]):
        says = refused(*setting.arguments, *change)
        assert f"{setting.hc1}.h5 holds results of another run (it differs in: " in says
        assert "--again" in says
    assert snapshot(setting.output) == before
    setting.hc1.with_suffix(".h5").unlink()
    assert "hc1 holds adversarials, but hc1.h5, their records, is missing" in refused(
        *setting.arguments
    )
    (setting.hc1 / "mine.png").write_text("mine")
    assert run(*setting.arguments, "--again", "--limit", 4) == 0
    assert (setting.hc1 / "mine.png").read_text() == "mine"
    assert len(entries(setting.hc1)) == load_records(setting.hc1.with_suffix(".h5")).found.sum()
    assert max(entry["index"] for entry in entries(setting.hc1)) < 4


def test_one_process_at_a_time(setting: Setting) -> None:
    with lock_folder(setting.output, None):
        says = refused(*setting.arguments)
        assert f"another process is writing into {setting.output}" in says
    assert list(setting.output.iterdir()) == []
    assert run(*setting.arguments) == 0


def test_full_disk(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full:
        free = 1000

    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: Full)
        says = refused(*setting.arguments)
        assert says.startswith(f"{setting.hc1}.parts/00000000-00000009.h5: No space left on device")
    written: list[Path] = []

    def write(path: Path, image: NDArray[np.uint8], *, sync: bool) -> None:
        if len(written) == 3:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        write_png(path, image, sync=sync)

    with monkeypatch.context() as patch:
        patch.setattr(adversarial_files, "write_png", write)
        says = refused(*setting.arguments)
        assert says.endswith(".png: No space left on device")
    assert sorted(setting.hc1.glob("*.png")) == written
    capsys.readouterr()
    assert run(*setting.arguments) == 0
    assert "PNG files are adversarial" in capsys.readouterr().out


def test_changed_files(setting: Setting) -> None:
    assert run(*setting.arguments) == 0
    first = min(setting.hc1.glob("*.png"))
    write_png(first, setting.pixels[0])
    assert refused(*setting.arguments) == (
        f"{first} differs from the adversarial in the records; remove it and run the same command "
        "again"
    )
    first.unlink()
    assert run(*setting.arguments) == 0


@pytest.mark.parametrize("name", ["summary.json", "figure1.png", "tiny/sheet.png"])
def test_files_of_others_stay(setting: Setting, name: str) -> None:
    path = setting.output / name
    path.parent.mkdir(parents=True)
    path.write_text('{"models": []}')
    before = snapshot(setting.output)
    says = refused(*setting.arguments)
    assert says.startswith((f"{path} is ", f"{path} exists, but "))
    assert "choose another --output, or replace it with --again" in says
    assert snapshot(setting.output) == before
    assert run(*setting.arguments, "--again") == 0


def test_pictures_that_are_not_all_written_are_no_hindrance(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(campaign, "write_pictures", interrupted)
        assert run(*setting.arguments) == 130
    assert (setting.output / "summary.json").exists()
    assert run(*setting.arguments) == 0


@pytest.mark.parametrize("name", ["summary.json", "figure1.png"])
def test_a_model_called_like_a_file(setting: Setting, name: str) -> None:
    text = setting.model.read_text()
    setting.model.write_text(f"name: {name}\n{text.replace('name:', '#')}")
    says = refused(*setting.arguments)
    assert says.startswith(
        f"a model cannot be called '{name}', which is the name of a result file; "
    )
    assert not setting.output.exists()


def test_a_model_whose_name_is_too_long_for_a_folder(setting: Setting) -> None:
    text = setting.model.read_text()
    setting.model.write_text(f"name: {'n' * 400}\n{text.replace('name:', '#')}")
    says = refused(*setting.arguments)
    assert f"'{'n' * 40}' ..., has 400 characters, too many for a folder; give it a sho" in says
    assert not setting.output.exists()
