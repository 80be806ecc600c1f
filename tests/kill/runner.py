"""Runs the programs that resume, disturbed and undisturbed, and keeps what the latter leave."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from power_cut import PowerCut
from programs import arguments, left

KILLS = int(os.environ.get("CAFFE_EXT_KILLS", "1"))
PROGRAMS = (
    *("hotcold", "evaluate", "noise_curves", "hardpositives", "get_data", "training"),
    *("transfer", "certify", "bounds", "exact", "fastgradient", "table1"),
    *("demo", "bench_attacks", "sweep", "distortion", "pass_table1", "landscape"),
)


class Runner:
    """The process that runs programs, interrupted.

    preload  what power_cut.build() has made
    """

    def __init__(self, preload: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("interrupted.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"LD_PRELOAD": f"{preload}"},
        )

    def tell(self, line: str) -> None:
        """Send a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return what came back."""
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def run(
        self,
        program: str,
        argv: list[str],
        output: Path,
        *,
        at: int | None = None,
        how: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Run a program, interrupted at a change of a file in its output.

        environment  variables of that run, and a process group of its own
        """
        case = {
            **{"program": program, "argv": argv, "folder": str(output), "at": at, "how": how},
            "environment": dict(environment or {}),
        }
        self.tell(json.dumps(case))
        return self.answer()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


class Undisturbed:
    """What runs without a disturbance leave, by program.

    output  of all runs, disturbed ones too, as what they leave names it
    """

    def __init__(self, runner: Runner, inputs: Path, folder: Path) -> None:
        self._runner, self.inputs, self._folder = runner, inputs, folder
        self.output = folder / "out"
        self._found: dict[str, tuple[int, dict[str, Any]]] = {}
        self._events: dict[str, int] = {}

    def of(self, program: str) -> tuple[int, dict[str, Any]]:
        """Return how many changes of files a run makes, and what it leaves."""
        if program not in self._found:
            shutil.rmtree(self.output, ignore_errors=True)
            argv = arguments(program, self.inputs, self.output)
            # Which counts what a power cut may come before, in the same run.
            cut = PowerCut(self.output, self._folder / f"notes-{program}")
            cut.notes.mkdir()
            done = self._runner.run(program, argv, self.output, environment=cut.environment(0))
            assert done["status"] == 0, done["printed"]
            assert done["changes"] > 3
            assert cut.events() > 3
            self._found[program] = done["changes"], left(self.output)
            self._events[program] = cut.events()
            shutil.rmtree(self.output)
        return self._found[program]

    def events(self, program: str) -> int:
        """Return how many syncs and renames a run makes."""
        self.of(program)
        return self._events[program]


def finish(runner: Runner, program: str, argv: list[str], output: Path) -> None:
    """Run a program to its end; wait for what a killed training has left running."""
    for _ in range(50):
        done = runner.run(program, argv, output)
        if "another process" not in done["printed"]:
            break
        time.sleep(0.2)
    assert done["status"] == 0, done["printed"]
