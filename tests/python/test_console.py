"""cli/console.py: tables, warnings and errors of all programs."""

import subprocess
import sys
from argparse import Namespace
from io import BytesIO, TextIOWrapper
from typing import Any

import pytest

from caffe_ext.cli.console import Console, run_program


def test_a_terminal_without_unicode_costs_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding="latin-1"))
    assert run_program(lambda _: print("5.0 ± 1.0 ──", flush=True), Namespace(gpu=None)) == 0
    assert written.getvalue().decode("latin-1") == "5.0 ± 1.0 ??\n"


def test_the_c_locale_costs_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    written = BytesIO()
    stream = TextIOWrapper(written, encoding="ascii", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdout", stream)
    assert run_program(lambda _: print("5.0 ± 1.0", flush=True), Namespace(gpu=None)) == 0
    assert written.getvalue() == b"5.0 ? 1.0\n"


def test_a_closed_stderr_costs_no_results() -> None:
    program = (
        "from argparse import Namespace\n"
        "from caffe_ext.cli.console import Console, run_program\n"
        "def run(_):\n"
        "    Console().note('a sentence')\n"
        "    with Console().show_progress('work', 2, 'image') as step: step(2)\n"
        "    print('done')\n"
        "raise SystemExit(run_program(run, Namespace(gpu=None)))\n"
    )
    command = ["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, program]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "done\n")


@pytest.mark.parametrize(
    ("lost", "status", "says"),
    [
        ("KeyboardInterrupt", 130, "interrupted; run the same command again to resume\n"),
        ("SystemExit(143)", 143, ""),
    ],
)
def test_an_interruption_that_python_drops_comes_again(lost: str, status: int, says: str) -> None:
    """As when the signal arrives in the middle of a fork: nothing can be raised there."""
    program = (
        "import time\n"
        "from argparse import Namespace\n"
        "from caffe_ext.cli.console import run_stoppable\n"
        "class Dropping:\n"
        f"    def __del__(self): raise {lost}\n"
        "def run(_):\n"
        "    Dropping()\n"
        "    time.sleep(60)\n"
        "raise SystemExit(run_stoppable(run, Namespace(gpu=None)))\n"
    )
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (status, "", says)


def fail(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SystemExit("\x1b[2Jx: damaged; there are:\n  y"), "\\x1b[2Jx: damaged; there are:\n  y"),
        (OSError(5, "damaged", "\x1b[2Jx\n"), r"\x1b[2Jx\n: damaged"),
        (OSError("\x1b[2Jx\n: damaged"), r"\x1b[2Jx\n: damaged"),
    ],
)
def test_sentences_have_no_control_characters(error: BaseException, says: str) -> None:
    with pytest.raises(SystemExit) as end:
        run_program(lambda _: fail(error), Namespace(gpu=None))
    assert end.value.code == says


def test_notes_have_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    Console().note("\x1b[2Jx")
    Console().warn("a\nb")
    assert capsys.readouterr().err == "\\x1b[2Jx\nWARNING: a\\nb\n"


def test_other_ends_are_left_alone() -> None:
    with pytest.raises(SystemExit) as end:
        run_program(lambda _: sys.exit(143), Namespace(gpu=None))
    assert end.value.code == 143
