"""caffe-ext pass as a user sees it, and benchmarks/bench_pass.py."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from caffe_ext.cli.pass_score import main
from caffe_ext.metrics.distances import compute_distances
from caffe_ext.metrics.pass_score import PUBLISHED, compute_pass_score
from caffe_ext.metrics.ssim import compute_ssim_scores
from data_samples import CHECKOUT

TOOL = CHECKOUT / "tools" / "pass.py"
RANDOM = np.random.default_rng(0)


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that returns the sentence with which the tool ends."""

    def sentence(*arguments: object) -> str:
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments)])
        assert "".join(capsys.readouterr()) == ""
        assert isinstance(end.value.code, str)  # printed to stderr, and the exit status is 1
        return end.value.code

    return sentence


def run(*arguments: object, status: int = 0) -> str:
    """Return what the tool printed, as a program."""
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def write(path: Path, pixels: NDArray[np.integer]) -> Path:
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def image(*shape: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(28, 30), (20, 17, 3)])
def test_json_says_what_the_package_says(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = image(*shape)
    y = np.where(image(*shape) < 40, 255 - x, x).astype(np.uint8)
    paths = write(tmp_path / "y.png", y), write(tmp_path / "x.png", x)
    # OpenCV stores BGR, the package reads RGB.
    a, b = (np.atleast_3d(pixels)[:, :, ::-1].transpose(2, 0, 1) for pixels in (y, x))
    expected = compute_distances(a, b)
    record = json.loads(run(*paths, "--json"))
    (pair,) = record["pairs"]
    assert (pair["adversarial"], pair["original"]) == tuple(map(str, paths))
    assert pair["pass_score"] == compute_pass_score(a, b)
    assert pair["ssim"] == compute_ssim_scores(a, b)[0]
    for name in ("l0", "l1", "l2", "l2_per_pixel", "linf", "mean_absolute"):
        assert pair[name] == getattr(expected, name)[0]
        assert record["means"][name] == pytest.approx(pair[name])
    assert record["ecc_failed"] == int(pair["ecc_failed"])
    (pair,) = json.loads(run(*paths, "--json", "--published"))["pairs"]
    assert pair["pass_score"] == compute_pass_score(a, b, protocol=PUBLISHED)


def test_one_pair(tmp_path: Path) -> None:
    black = np.zeros((20, 20), np.uint8)
    changed = black.copy()
    changed[3, 4], changed[9, 9] = 255, 51
    printed = run(write(tmp_path / "a.png", changed), write(tmp_path / "b.png", black))
    rows = dict(line.rsplit(maxsplit=1) for line in printed.splitlines())
    assert list(rows) == [
        *("PASS", "SSIM", "L0", "L1", "L2", "L2 per pixel", "Linf", "mean abs. dist.")
    ]
    assert rows["PASS"] == rows["SSIM"] + "*"  # a black image cannot be aligned
    assert (rows["L0"], rows["L1"], rows["Linf"]) == ("2", "306", "255")
    assert (rows["L2"], rows["L2 per pixel"]) == ("260.05", "13.00")
    assert rows["mean abs. dist."] == "0.0030"


def test_several_pairs_of_several_sizes(tmp_path: Path) -> None:
    small, large = image(16, 16), image(30, 20, 3)
    a, b = write(tmp_path / "a.png", small), write(tmp_path / "b.bmp", large)
    c = write(tmp_path / "c.png", np.full((16, 16), 9, np.uint8))
    lines = run(a, a, b, b, c, c).splitlines()
    assert len(lines) == 5
    assert lines[0].split()[:4] == ["adversarial", "PASS", "SSIM", "L0"]
    assert [line.split()[0] for line in lines[1:4]] == [str(a), str(b), str(c)]
    assert lines[4].split()[:5] == ["mean", "of", "3", "1.0000", "1.0000"]


def test_two_folders(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for name in ("3.png", "1.png", "2.png"):
        write(one / name, image(12, 12))
        write(other / name, image(12, 12))
    write(one / "alone.png", image(12, 12))
    (one / "notes.txt").write_text("no image")
    (other / "notes.txt").write_text("no image")
    printed = run(one, other)
    assert [line.split()[0] for line in printed.splitlines()[1:4]] == [
        str(one / f"{number}.png") for number in (1, 2, 3)
    ]
    assert "mean of 3" in printed
    assert "left out, as only one folder has them: alone.png (1)" in printed
    assert len(json.loads(run(other, other, "--json"))["pairs"]) == 3


def test_refused(tmp_path: Path, refusal: Callable[..., str]) -> None:
    good = write(tmp_path / "good.png", image(20, 30))
    missing = tmp_path / "missing.png"
    assert refusal(missing, good) == f"{missing}: No such file or directory"
    other = write(tmp_path / "other.png", image(30, 20))
    assert "good.png is 30 x 20 grey and" in refusal(good, other)
    colour = write(tmp_path / "colour.png", image(20, 30, 3))
    assert "colour.png is 30 x 20 colour" in refusal(good, colour)
    tiny = write(tmp_path / "tiny.png", image(8, 30))
    assert "tiny.png: images of 8 x 30 pixels are smaller" in refusal(tiny, tiny)
    assert "either pairs of files, or two folders" in refusal(tmp_path, good)
    (tmp_path / "empty").mkdir()
    assert "no image in" in refusal(tmp_path, tmp_path / "empty")


def test_damaged_files(tmp_path: Path, refusal: Callable[..., str]) -> None:
    good = write(tmp_path / "good.png", image(20, 30))
    content = good.read_bytes()
    for damaged in (b"", b"no image", content[:40], content[:300]):
        (tmp_path / "bad.png").write_bytes(damaged)
        says = refusal(good, tmp_path / "bad.png")
        assert says == f"{tmp_path / 'bad.png'} is not an image that OpenCV can read"


def test_exit_status(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(
        write(tmp_path / "good.png", image(20, 30)).read_bytes()[:40]
    )
    printed = run(tmp_path / "good.png", tmp_path / "bad.png", status=1)
    assert printed == f"{tmp_path / 'bad.png'} is not an image that OpenCV can read\n"
    assert "3 images given: images are compared in pairs" in run("a", "b", "c", status=2)
    assert "1 image given: images are compared in pairs" in run("a", status=2)
    assert "ADVERSARIAL ORIGINAL" in run("--help")


def test_the_benchmark(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(CHECKOUT / "benchmarks" / "bench_pass.py"),
        "--pairs",
        "5",
        "--runs",
        "2",
    ]
    printed = subprocess.run(
        [*command, "--output", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    record = json.loads((tmp_path / "bench_pass.json").read_text())
    assert record["largest_difference"] < 1e-6
    assert (record["pairs"], record["elapsed"]["pairs"]) == (5, 2)
    assert f"ratio             {record['elapsed']['ratio']:.2f}" in printed
    assert record["machine"]["cores"] == record["threads"]
