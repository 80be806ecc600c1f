"""Damaged files of every format that the programs read: one sentence or a result, always.

Each case is read in a process of its own (child.py), whose death is a failure, too. In CI the cases
are few, and the same every time; by hand, so many or so long for each format:

    CAFFE_EXT_FUZZ_EXAMPLES=5000 pytest tests/fuzz -k caffemodel
    CAFFE_EXT_FUZZ_SECONDS=600 pytest tests/fuzz -k caffemodel -rP
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from damages import Damage, damages
from formats import FORMATS

EXAMPLES = int(os.environ.get("CAFFE_EXT_FUZZ_EXAMPLES", "60"))
SECONDS = float(os.environ.get("CAFFE_EXT_FUZZ_SECONDS", "0"))
BY_HAND = SECONDS > 0 or "CAFFE_EXT_FUZZ_EXAMPLES" in os.environ
TEXTS = {"yaml", "prototxt", "solver", "train-net", "listing", "sweep.yaml"}
PATIENCE = 600.0 if BY_HAND else 60.0  # seconds; long runs have what others leave of the processor


class Reader:
    """The process that reads, started anew when it has died."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log"
        self._process: subprocess.Popen[str] | None = None

    def read(self, name: str, folder: Path) -> str:
        """Return what was wrong with reading a case, "" if nothing was."""
        if self._process is None:
            with self._log.open("w") as log:
                self._process = subprocess.Popen(
                    [sys.executable, str(Path(__file__).with_name("child.py"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name} {folder}\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            self.close()
            return f"no answer within {PATIENCE:g} seconds"
        answer = self._process.stdout.readline()
        if answer:
            return str(json.loads(answer))
        status = self._process.wait()
        self.close()
        tail = self._log.read_text(errors="replace")[-2000:]
        return f"the process has died, status {status}: {tail}"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("reader"))
    yield reader
    reader.close()


def kind(name: str) -> str:
    if name.endswith(".json"):
        return "json"
    return "text" if name in TEXTS else "binary"


@pytest.mark.parametrize("name", FORMATS)
def test_good_files_are_read(tmp_path: Path, name: str) -> None:
    FORMATS[name].make(tmp_path)
    FORMATS[name].read(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_get_a_sentence(reader: Reader, tmp_path: Path, name: str) -> None:
    form, good, examples = FORMATS[name], tmp_path / "good", 0
    good.mkdir()
    form.make(good)

    @settings(
        max_examples=EXAMPLES,
        derandomize=not BY_HAND,
        deadline=None,
        database=None,
        print_blob=True,
        phases=(Phase.generate, *((Phase.shrink,) if BY_HAND else ())),
        suppress_health_check=list(HealthCheck),
    )
    @given(damages(kind(name)))
    def check(list_of: list[Damage]) -> None:
        nonlocal examples
        examples += 1
        content = (good / form.file).read_bytes()
        for damage in list_of:
            content = damage(content)
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            case = Path(folder) / "case"
            shutil.copytree(good, case)
            (case / form.file).write_bytes(content)
            wrong = reader.read(name, case)
            if wrong:
                kept = tmp_path / f"failed-{Path(form.file).name}"
                kept.write_bytes(content)
                pytest.fail(f"{kept}: {wrong}")

    end = time.monotonic() + SECONDS
    check()
    while time.monotonic() < end:
        check()
    print(f"{name}: {examples} examples")  # pytest -rP shows it


def test_the_process_that_dies_is_told_from_one_that_answers(tmp_path: Path) -> None:
    dying = Reader(tmp_path)
    assert "FORMATS[name]" in dying.read("no such format", tmp_path)
    assert dying._process is not None
    dying._process.kill()
    dying._process.wait()
    with pytest.raises(BrokenPipeError):
        dying.read("yaml", tmp_path)
    dying.close()
    (tmp_path / "deploy.prototxt").write_text("x")
    FORMATS["yaml"].make(tmp_path)
    assert dying.read("yaml", tmp_path) == ""
    dying.close()
