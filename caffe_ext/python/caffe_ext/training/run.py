"""Training: `caffe train` as a subprocess with progress, which can be interrupted and resumed.

    request = TrainingRequest(Path("solvers/lenet_bang.prototxt"), Path("build/demo/lenet_bang"))
    result = train(request)
    result.accuracy, result.weights

A training run has its own folder, described in folder.py. Repeating a request resumes an unfinished
run from its newest solver state, and returns the result of a finished one at once. A state that a
power cut or a kill has left empty or truncated is skipped, and the previous one is used.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from caffe_ext.errors import DeviceError
from caffe_ext.reporting import Reporter, SilentReporter
from caffe_ext.runtime.device import Device
from caffe_ext.runtime.installation import explain_reinstallation
from caffe_ext.storage.provenance import hash_file
from caffe_ext.storage.regular_file import require_regular_file
from caffe_ext.training.folder import Progress, TrainingFolder
from caffe_ext.training.log import CaffeLog, LogParser, parse_log
from caffe_ext.training.settings import SolverSettings, TrainingError, read_settings

__all__ = ["TrainingError", "TrainingRequest", "TrainingResult", "train"]

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained.

    solver     the solver file
    output     the folder for all results; its last part names the training run
    overrides  solver settings that replace the file's, as protobuf text
    sources    new paths of databases and mean images, by the paths in the network
    root       the folder that relative paths in the files refer to
    again      train from the beginning even if the run was finished before
    gpu        the number of the GPU to train on; None: as in the solver file, usually the CPU

    The device is not one of the settings: a run can be resumed on another one, and a finished run
    is finished on all.
    """

    solver: Path
    output: Path
    overrides: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path()
    again: bool = False
    gpu: int | None = None


@dataclass(frozen=True)
class TrainingResult:
    """A finished training run.

    accuracy    of the test after the last iteration, 0..1; None if the solver does not test then or
                the net has no output of that name
    loss        of the same test; None likewise
    seconds     that Caffe ran, including tests and all parts of a resumed run
    iterations  of the whole run
    weights     the trained weights
    log         Caffe's log, for log.parse_log()
    solver      the complete settings, as a solver file; `settings` is their digest
    reused      whether it had been finished before this request
    devices     where it was computed: "CPU", or a GPU with its name; several if it was resumed
    """

    accuracy: float | None
    loss: float | None
    seconds: float
    iterations: int
    weights: Path
    log: Path
    solver: Path
    settings: str
    reused: bool
    devices: tuple[str, ...]

    def as_record(self) -> dict[str, Any]:
        """Return what the studies record of it, for JSON; reads the file of the weights."""
        return {
            "iterations": self.iterations,
            "accuracy": self.accuracy,
            "seconds": self.seconds,
            "settings": self.settings,
            "sha256": hash_file(self.weights),
        }


def train(request: TrainingRequest, reporter: Reporter | None = None) -> TrainingResult:
    """Train, resume, or return the result of a finished run.

    On Ctrl-C, Caffe saves its state and stops, and the KeyboardInterrupt says how to resume.
    Raises TrainingError: a file, a database or the GPU is missing (found before anything is
    written), the output cannot be written, or Caffe failed.
    """
    reporter = reporter or SilentReporter()
    settings = read_settings(request.solver, request.overrides, request.sources, request.root)
    settings.check_sources()
    program = find_caffe_program()
    device = settings.device if request.gpu is None else Device(request.gpu)
    try:
        device.check()
    except DeviceError as error:
        raise TrainingError(f"{request.output.name}: {error}") from error
    folder = TrainingFolder(request.output)
    digest = settings.compute_digest()
    name, iterations = request.output.name, settings.solver.max_iter
    with folder.lock() as lock:
        progress = folder.claim(digest, again=request.again, reporter=reporter)
        if progress.finished and folder.find_weights(iterations) and folder.log.is_file():
            result = _collect_result(folder, progress, iterations, reused=True)
            reporter.note(f"{name}: trained before, {_describe(result)}")
            return result
        try:
            settings.write(folder.path)
        except OSError as error:
            raise TrainingError(f"cannot write into {folder.path}: {error.strerror}") from error
        devices = tuple(dict.fromkeys([*progress.devices, device.describe()]))
        unfinished = replace(progress, finished=False, devices=devices)
        seconds = _Run(settings, folder, unfinished, program, lock, reporter, device).run()
        progress = replace(unfinished, finished=True, seconds=seconds)
        folder.write(progress)
        result = _collect_result(folder, progress, iterations, reused=False)
    reporter.note(f"{name}: {_describe(result)}")
    return result


def find_caffe_program() -> str:
    """Return the path of the program `caffe`: the one beside this Python, or on the PATH.

    Raises TrainingError if there is none.
    """
    beside = Path(sys.executable).with_name("caffe")
    program = str(beside) if beside.exists() else shutil.which("caffe")
    if program:
        return program
    raise TrainingError(f"no program caffe was found; {explain_reinstallation()}")


@dataclass(frozen=True)
class _Run:
    """A run of `caffe train`, from the beginning or from the newest solver state."""

    settings: SolverSettings
    folder: TrainingFolder
    progress: Progress
    program: str
    lock: int
    reporter: Reporter
    device: Device

    def run(self) -> float:
        """Run Caffe to the end; return the seconds that it took, including earlier parts."""
        state = self.folder.find_newest_state(self.reporter)
        self._announce(state)
        interrupted = False
        start = time.monotonic()
        self.folder.write(replace(self.progress, started=time.time()))
        require_regular_file(self.folder.log)
        with self.folder.log.open("ab" if state else "wb") as log:
            offset = log.tell()
            process = subprocess.Popen(
                self._make_command(state),
                cwd=self.settings.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # If this process is killed, Caffe goes on, and must not meet another one here.
                pass_fds=(self.lock,),
                # The log goes to stderr alone, not to /tmp too, and with all that the parser reads.
                env=os.environ | {"GLOG_logtostderr": "1", "GLOG_minloglevel": "0"},
            )
        try:
            self._watch(process, offset, state[0] if state else 0)
        except KeyboardInterrupt:
            interrupted = True
            _stop(process)
        except BaseException:
            _stop(process)
            raise
        finally:
            seconds = self.progress.seconds + time.monotonic() - start
            unwritten = self._record(seconds)
        # The reason why Caffe ended comes first: usually the same full disk.
        self._check(process.returncode, parse_log(_read(self.folder.log, offset)), interrupted)
        if unwritten is not None:
            raise unwritten
        return seconds

    def _record(self, seconds: float) -> TrainingError | None:
        """Record how long Caffe ran; return the error if that is not possible."""
        try:
            self.folder.write(replace(self.progress, seconds=seconds))
        except TrainingError as error:
            return error
        return None

    def _announce(self, state: tuple[int, Path] | None) -> None:
        name, log = self.folder.path.name, self.settings.shorten_path(self.folder.log)
        iterations = f"{self.settings.solver.max_iter:,} iterations"
        start = f"resuming from iteration {state[0]:,} of {iterations}" if state else iterations
        on = "" if self.device.gpu is None else f" on {self.device}"
        self.reporter.note(f"{name}: training{on}, {start}; log: {log}")

    def _make_command(self, state: tuple[int, Path] | None) -> list[str]:
        solver = self.settings.shorten_path(self.folder.path / "solver.prototxt")
        command = [self.program, "train", f"--solver={solver}"]
        if self.device.gpu is not None:
            command.append(f"--gpu={self.device.gpu}")
        return (
            [*command, f"--snapshot={self.settings.shorten_path(state[1])}"] if state else command
        )

    def _watch(self, process: subprocess.Popen[bytes], offset: int, start: int) -> None:
        """Show the progress until Caffe ends."""
        iterations = self.settings.solver.max_iter
        parser, shown = LogParser(), start
        with (
            self.folder.log.open("rb") as log,
            self.reporter.show_progress(self.folder.path.name, iterations, "it", start) as step,
        ):
            log.seek(offset)
            while process.returncode is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_POLL_SECONDS)
                parser.feed(log.read().decode(errors="replace"))
                reached = iterations if parser.done else parser.iteration
                if reached > shown:
                    step(reached - shown)
                    shown = reached

    def _check(self, status: int, log: CaffeLog, interrupted: bool) -> None:
        """Raise the error for a run that did not reach the end."""
        if interrupted or log.stopped or status == -signal.SIGINT:
            state = self.folder.find_newest_state()
            at = f"iteration {state[0]:,} is saved" if state else "nothing is saved yet"
            raise KeyboardInterrupt(
                f"{self.folder.path.name}: stopped, {at}; run the same command again to resume"
            )
        if status != 0 or not log.done:
            killed = f"killed by {signal.Signals(-status).name}" if status < 0 else None
            reason = log.error or killed or f"exit status {status}"
            raise TrainingError(f"caffe train failed: {reason} (log: {self.folder.log})")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let Caffe save its state and end; a second Ctrl-C ends it at once."""
    try:
        process.send_signal(signal.SIGINT)
        process.wait()
    except KeyboardInterrupt:
        process.kill()
        process.wait()


def _collect_result(
    folder: TrainingFolder, progress: Progress, iterations: int, *, reused: bool
) -> TrainingResult:
    """Collect the result of a finished run from its folder."""
    weights = folder.find_weights(iterations)
    if weights is None:
        raise TrainingError(f"caffe train left no weights in {folder.path} (log: {folder.log})")
    tests = [test for test in parse_log(_read(folder.log)).tests if test.iteration == iterations]
    outputs = tests[0].outputs if tests else {}
    accuracies = [value for name, value in outputs.items() if "accuracy" in name]
    return TrainingResult(
        accuracy=outputs.get("accuracy", accuracies[0] if accuracies else None),
        loss=tests[0].loss if tests else None,
        seconds=progress.seconds,
        iterations=iterations,
        weights=weights,
        log=folder.log,
        solver=folder.path / "solver.prototxt",
        settings=progress.settings,
        reused=reused,
        devices=tuple(progress.devices),
    )


def _read(log: Path, offset: int = 0) -> str:
    return log.read_bytes()[offset:].decode(errors="replace")


def _describe(result: TrainingResult) -> str:
    tested = "" if result.accuracy is None else f"accuracy {result.accuracy:.2%}, "
    return f"{tested}{result.iterations:,} iterations, {result.seconds:.0f} s"
