"""Runs programs in forked processes that are interrupted at the n-th change of a file.

Takes lines of JSON from its input, {"program", "argv", "folder", "at", "how", "environment"};
answers with a line each: the exit status (negative: the signal), the changes that were seen, and
what was printed.

A change is the opening of a file for writing, a rename, a removal, a new folder or its removal, in
`folder`; Python's audit hooks tell of each before it happens. At number `at`, `how` happens:

    KILL, TERM, INT   the signal
    STOP              SIGSTOP, until somebody continues the process
    FULL              the change fails, as on a full disk, as do all after it
"""

import errno
import importlib
import json
import os
import pkgutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
os.environ["GLOG_minloglevel"] = "2"  # noqa: SIM112  glog reads it

import caffe_ext  # noqa: E402
from caffe_ext.cli import (  # noqa: E402
    certify,
    demo,
    evaluate,
    fastgradient,
    get_data,
    hardpositives,
    hotcold,
    noise_curves,
    study,
    sweep,
    table1,
    transfer,
)
from caffe_ext.training import TrainingError, TrainingRequest, train  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import bench_attacks  # noqa: E402


def run_training(argv: Sequence[str]) -> int:
    """Train as the programs do: SIGTERM ends it as errors do."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    solver, output = map(Path, argv)
    try:
        train(TrainingRequest(solver, output, root=solver.parent))
    except KeyboardInterrupt as interrupt:
        print(interrupt, file=sys.stderr)
        return 130
    except TrainingError as error:
        sys.exit(f"{error}")
    return 0


def measure_attacks(argv: Sequence[str]) -> int:
    """Run bench_attacks.py, without the libraries that it compares ours with."""
    bench_attacks.name_others = lambda: None
    return bench_attacks.main(argv)


PROGRAMS: dict[str, Callable[[Sequence[str]], int]] = {
    "bench_attacks": measure_attacks,
    "bounds": certify.main,
    "certify": certify.main,
    "demo": demo.main,
    "distortion": study.main,
    "evaluate": evaluate.main,
    "exact": certify.main,
    "fastgradient": fastgradient.main,
    "get_data": get_data.main,
    "hardpositives": hardpositives.main,
    "hotcold": hotcold.main,
    "landscape": study.main,
    "noise_curves": noise_curves.main,
    "pass_table1": study.main,
    "sweep": sweep.main,
    "table1": table1.main,
    "transfer": transfer.main,
    "training": run_training,
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime"}


class Interruption:
    """Counts the changes, and interrupts at one."""

    def __init__(self, folder: str, at: int | None, how: str) -> None:
        self.folder, self.at, self.how = folder, at, how
        self.seen = 0
        self.process = os.getpid()

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear of an event, as an audit hook does."""
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if not (writes or event in CHANGES) or os.getpid() != self.process:
            return
        if not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        if not os.fsdecode(arguments[0]).startswith(self.folder):
            return
        self.seen += 1
        if self.at is None or self.seen < self.at:
            return
        if self.how == "FULL":
            # Removals work on a full disk.
            if event not in ("os.remove", "os.rmdir"):
                full = os.strerror(errno.ENOSPC)
                raise OSError(errno.ENOSPC, full, os.fsdecode(arguments[0]))
        elif self.seen == self.at:
            os.kill(self.process, getattr(signal, f"SIG{self.how}"))


def run(case: dict[str, Any], log: int, report: int) -> int:
    """Run a program in this process; return its exit status."""
    for stream in (1, 2):
        os.dup2(log, stream)
    if case["environment"]:
        os.setsid()  # a power cut ends all processes of the group
        os.environ.update(case["environment"])
    interruption = Interruption(case["folder"], case["at"], case["how"])
    sys.addaudithook(interruption)
    try:
        status = PROGRAMS[case["program"]](case["argv"])
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(report, f"{interruption.seen}".encode())
    return status


def main() -> None:
    """Serve."""
    # What a shell has put into the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # The programs import late; here it is done once, before the forks.
    for module in pkgutil.walk_packages(caffe_ext.__path__, "caffe_ext."):
        # The bridges and sweeps need packages that are optional.
        optional = ".bridges." in module.name or ".sweeps." in module.name
        if not module.name.endswith("__main__") and not optional:
            importlib.import_module(module.name)
    for line in sys.stdin:
        case = json.loads(line)
        with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as report:
            child = os.fork()
            if not child:
                status = 70
                try:
                    status = run(case, log.fileno(), report.fileno())
                finally:
                    os._exit(status)
            if case["how"] == "STOP":
                _, status = os.waitpid(child, os.WUNTRACED)
                if os.WIFSTOPPED(status):
                    print(json.dumps({"stopped": child}), file=ANSWERS, flush=True)
                    sys.stdin.readline()  # until the other run has been tried
                    os.kill(child, signal.SIGCONT)
                    _, status = os.waitpid(child, 0)
            else:
                _, status = os.waitpid(child, 0)
            for file in (log, report):
                file.seek(0)
            answer = {
                "status": os.waitstatus_to_exitcode(status),
                "printed": log.read().decode(errors="replace"),
                "changes": int(report.read() or 0),
            }
            print(json.dumps(answer), file=ANSWERS, flush=True)


if __name__ == "__main__":
    main()
