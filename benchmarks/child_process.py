"""Benchmarks measure in a process of their own, which has its threads from the start."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from caffe_ext.runtime.checkout import ROOT


def measure_in_child(
    program: str,
    arguments: Sequence[object],
    title: str,
    environment: Mapping[str, str],
) -> Any:
    """Run a program with arguments; return the JSON in the last line that it prints.

    title        what is measured, for the sentence that ends this program if that fails
    environment  variables that are set for it: OMP_NUM_THREADS, ...
    """
    done = subprocess.run(
        [sys.executable, program, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment, "GLOG_minloglevel": "2"},
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode < 0:
        number = -done.returncode
        memory = ": the memory may not suffice" if number == signal.SIGKILL else ""
        sys.exit(f"measuring {title} was ended by signal {number}{memory}")
    if done.returncode:
        sys.exit(f"measuring {title} failed, see above")
    return json.loads(done.stdout.splitlines()[-1])


def run_child(measure: Callable[[], object]) -> int:
    """Measure, as the child; return the exit status."""
    with suppress(KeyboardInterrupt):  # the parent got the same Ctrl-C, and speaks
        measure()
        return 0
    return 130
