"""cli/console.py: tables, warnings and errors of all programs."""

import sys
from argparse import Namespace
from io import BytesIO, TextIOWrapper

import pytest

from caffe_ext.cli.console import run_program


def test_a_terminal_without_unicode_costs_no_results(monkeypatch: pytest.MonkeyPatch) -> None:
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding="latin-1"))
    assert run_program(lambda _: print("5.0 ± 1.0 ──", flush=True), Namespace(gpu=None)) == 0
    assert written.getvalue().decode("latin-1") == "5.0 ± 1.0 ??\n"
