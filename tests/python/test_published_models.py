"""data/published_models.py: the models of BANG's authors are recognised by their digests."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from caffe_ext.data import published_models
from caffe_ext.data.digest import compute_md5
from caffe_ext.data.published_models import MODELS, prepare_models
from caffe_ext.errors import DataError
from data_samples import Server, nobody, serving

CONTENT = {"lenet.caffemodel.h5": b"weights of R0", "lenet_bang.caffemodel.h5": b"weights of B1"}
R0, B1 = CONTENT.values()


def publish(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let the published models be those of CONTENT, at this address."""
    models = [
        replace(
            model,
            remote=replace(
                model.remote,
                size=len(content),
                md5=compute_md5(content),
                urls=(url + model.remote.name,),
            ),
        )
        for model, content in zip(MODELS, CONTENT.values(), strict=True)
    ]
    monkeypatch.setattr(published_models, "MODELS", tuple(models))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, nobody())
    for name in published_models.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Return a folder with the models, under names of the user's own, and another file."""
    folder = tmp_path / "given"
    folder.mkdir()
    for name, content in {"a.h5": b"something of", "b.h5": B1, "c.h5": R0}.items():
        (folder / name).write_bytes(content)
    return folder


def check(paths: tuple[Path, ...], folder: Path) -> None:
    assert paths == (folder / "lenet_R0.caffemodel.h5", folder / "lenet_B1.caffemodel.h5")
    assert [path.read_bytes() for path in paths] == [R0, B1]
    assert sorted(folder.iterdir()) == sorted(paths)


def test_files_of_any_name(tmp_path: Path, given: Path) -> None:
    check(prepare_models(tmp_path / "out", given), tmp_path / "out")
    check(prepare_models(tmp_path / "out"), tmp_path / "out")  # they are there already


@pytest.mark.parametrize("variable", published_models.VARIABLES)
def test_folders_of_the_environment(
    tmp_path: Path, given: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given.rename(tmp_path / "models")
    monkeypatch.setenv(variable, str(tmp_path))
    check(prepare_models(tmp_path / "out"), tmp_path / "out")


def test_one_file_after_the_other(tmp_path: Path, given: Path) -> None:
    with pytest.raises(DataError, match=r"c.h5 \(--data-dir\) does not hold lenet_bang"):
        prepare_models(tmp_path / "out", given / "c.h5")
    check(prepare_models(tmp_path / "out", given / "b.h5"), tmp_path / "out")


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server(CONTENT)) as server:
        publish(monkeypatch, server.url)
        with pytest.raises(DataError, match="downloading was not allowed"):
            prepare_models(tmp_path / "out", use_network=False)
        check(prepare_models(tmp_path / "out"), tmp_path / "out")


def test_a_wrong_download_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server({name: b"x" * len(R0) for name in CONTENT})) as server:
        publish(monkeypatch, server.url)
        with pytest.raises(DataError, match="MD5 is not the published"):
            prepare_models(tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.h5"))


def test_without_a_network_it_says_what_to_get_and_where(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=rf"lenet.caffemodel.h5 \(R0, .*; MD5 {compute_md5(R0)}\) is not on this machine.*"
        r"download it from https://github.com/arozsa23/.* --data-dir",
    ):
        prepare_models(tmp_path)


def test_other_files_are_kept(tmp_path: Path, given: Path) -> None:
    other = tmp_path / "lenet_B1.caffemodel.h5"
    other.write_bytes(b"my own")
    with pytest.raises(DataError, match=f"{other} is not the published B1.*--again"):
        prepare_models(tmp_path, given)
    assert other.read_bytes() == b"my own"
    prepare_models(tmp_path, given, again=True)
    assert other.read_bytes() == B1


def test_a_user_s_own_copy_in_the_output_folder_is_kept(given: Path) -> None:
    before = {path: path.read_bytes() for path in given.iterdir()}
    paths = prepare_models(given, use_network=False)
    assert [path.read_bytes() for path in paths] == [R0, B1]
    assert {path: path.read_bytes() for path in before} == before


def test_the_program(tmp_path: Path, given: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool = import_module("caffe_ext.cli.get_data")
    named = ["models", "--output", str(tmp_path / "out"), "--data-dir"]
    assert tool.main([*named, str(given)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/out/models/lenet_R0.caffemodel.h5: as published",
        f"{tmp_path}/out/models/lenet_B1.caffemodel.h5: as published",
    ]
    with pytest.raises(SystemExit, match=f"--data-dir names {tmp_path}/nowhere, which does not"):
        tool.main(["models", "--output", str(tmp_path), "--data-dir", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit):
        tool.main(["models", "--validation", "5"])
    assert "it does not go with models" in capsys.readouterr().err
