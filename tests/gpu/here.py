"""Run all that needs a GPU: tests, compute-sanitizer, the benchmark; write results/gpu.

    tests/gpu/run here [--output results/gpu] [--only NAME ...] [--limit SECONDS]

Runs in an archive that `tests/gpu/run pack` made, unpacked, or in a checkout with a CUDA build.
Needs nothing but Python's standard library. Without a GPU it says so, and runs what the CPU can.
Ends with 1 if something failed, and if the tests do not see a GPU that nvidia-smi sees.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build-cuda"
PACKED = ROOT / "pack.json"
UPSTREAM_SHARDS = 4
NO_GPU = "skipped: no GPU"


@dataclass
class Step:
    """A program to run; of a GoogleTest program several shards run at once."""

    name: str
    command: list[str | Path]
    folder: Path = ROOT
    shards: int = 1
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self, environment: dict[str, str], output: Path, limit: float, has_gpu: bool
    ) -> dict[str, object]:
        """Run it for `limit` seconds at most, its words into `output`; return how it went."""
        start = time.monotonic()
        log = output / f"{self.name}.log"
        parts, running = [], []
        for shard in range(self.shards):
            parts.append(log.with_suffix(f".{shard}"))
            variables = {**environment, **self.environment}
            if self.shards > 1:
                variables["GTEST_TOTAL_SHARDS"] = str(self.shards)
                variables["GTEST_SHARD_INDEX"] = str(shard)
            with parts[-1].open("wb") as file:
                process = subprocess.Popen(
                    self.command,
                    cwd=self.folder,
                    env=variables,
                    stdout=file,
                    stderr=file,
                    # To be ended with what it has started; no threads here.
                    preexec_fn=os.setpgrp,  # noqa: PLW1509
                )
            running.append(process)
        in_time = True
        try:
            for process in running:
                process.wait(timeout=max(0.0, start + limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            in_time = False
        finally:
            for process in running:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        exits = [process.wait() for process in running]
        text = "".join(part.read_text(errors="replace") for part in parts)
        log.write_text(text)
        for part in parts:
            part.unlink()
        status = "failed" if any(exits) else "passed"
        if not in_time:
            status = f"failed: not done after {limit:.0f} s"
        elif status == "passed" and NO_GPU in text:
            status = f"passed; what needs a GPU {NO_GPU}"
            if has_gpu:
                status = "failed: it finds no GPU, but nvidia-smi does"
        seconds = round(time.monotonic() - start, 1)
        return {"name": self.name, "status": status, "exit": exits, "seconds": seconds}


def steps(python: Path, output: Path) -> list[Step]:
    """All there is to run here."""
    tests = BUILD / "tests"
    kernels = tests / "caffe_ext_gpu_kernel_tests"
    sanitizer = shutil.which("compute-sanitizer", path=search_path())
    upstream = BUILD / "caffe" / "src"
    # As any_device_tests in tests/CMakeLists.txt.
    any_device = (
        "--gtest_filter=Adversarial*:BangBalancer*:BangSolver*:DualBounds*:GaussianNoise*:"
        "GoodState*:Interval*:Misclassification*:ReLURelaxation*:RowSpread*:SensitivityLoss*:"
        "SpectralLoss*"
    )
    found = [
        Step("kernels", [kernels]),
        Step("cpp", [tests / "caffe_ext_tests"]),
        Step(
            "cpp_gpu_mode",
            [tests / "caffe_ext_tests", any_device],
            environment={"CAFFE_EXT_TEST_MODE": "GPU"},
        ),
        Step(
            "upstream",
            [tests / "caffe_upstream_tests"],
            upstream,
            UPSTREAM_SHARDS,
            {"GLOG_minloglevel": "2"},
        ),
    ]
    for name, mark, mode in (("python", "gpu", ""), ("python_gpu_mode", "any_device", "GPU")):
        files = [
            path
            for path in sorted(ROOT.glob("tests/python/test_*.py"))
            if f"mark.{mark}" in path.read_text()
        ]
        if files:
            pytest: list[str | Path] = [
                python,
                "-m",
                "pytest",
                "-p",
                "no:cacheprovider",
                "-q",
                "-ra",
                "-m",
                mark,
            ]
            mode_of_tests = {"CAFFE_EXT_TEST_MODE": mode}
            found.append(Step(name, [*pytest, *files], environment=mode_of_tests))
    if sanitizer:
        # The tests look at what each call returns; cuBLAS and the runtime probe the driver with
        # calls that may fail, which would count. racecheck knows shared memory alone, which in
        # convolutions only cuBLAS uses.
        check = [sanitizer, "--error-exitcode", "9", "--report-api-errors", "no", "--tool"]
        found += [
            Step("memcheck", [*check, "memcheck", kernels]),
            Step("racecheck", [*check, "racecheck", kernels, "--gtest_filter=-Convolution*"]),
        ]
    else:
        print("compute-sanitizer is not on this machine: memcheck and racecheck are left out")
    benchmark = ROOT / "benchmarks" / "bench_gpu.py"
    if benchmark.is_file():
        command = [python, benchmark, "--output", output, *torch_arguments()]
        found.append(Step("bench_gpu", command))
    return found


def search_path() -> str:
    """PATH, with the usual places of CUDA's tools."""
    toolkits = [str(path) for path in sorted(Path("/usr/local").glob("cuda*/bin"), reverse=True)]
    return os.pathsep.join([os.environ.get("PATH", ""), *toolkits])


def pythons() -> list[tuple[Path, list[Path]]]:
    """Every Python on the PATH, and the folders in which it looks for packages."""
    found = []
    for folder in dict.fromkeys(os.environ.get("PATH", "").split(os.pathsep)):
        python = Path(folder) / "python3"
        if python.is_file():
            command: list[str | Path] = [
                python,
                "-c",
                "import sys; print(*sys.path[1:], sep='\\n')",
            ]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            found.append((python, [Path(line) for line in done.stdout.splitlines()]))
    return found


def python_with(package: str) -> tuple[Path, Path] | None:
    """The first Python on the PATH that has a package, and the folder of its packages."""
    every = ((python, folder) for python, folders in pythons() for folder in folders)
    return next((found for found in every if (found[1] / package).is_dir()), None)


def cuda_folders() -> list[Path]:
    """Where CUDA's libraries may be: toolkits, and Python packages."""
    toolkits = [*Path("/usr/local").glob("cuda*/lib64"), *Path("/usr/local").glob("cuda*/lib")]
    packages = [folder for _, folders in pythons() for folder in folders]
    return toolkits + [path for base in packages for path in sorted(base.glob("nvidia/*/lib"))]


def borrow_opencv() -> Path:
    """Links to the OpenCV of one of the machine's Pythons; return their folder."""
    links = ROOT / "python" / "borrowed"
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir()
    found = python_with("cv2")
    if found is None:
        print("No python3 on the PATH has OpenCV (opencv-python-headless): Python tests fail")
    else:
        for path in (found[1] / "cv2", *found[1].glob("opencv_python*.libs")):
            (links / path.name).symlink_to(path)
    return links


def torch_arguments() -> list[str | Path]:
    """For the benchmark: a Python that has PyTorch, if any, shielded from our libraries."""
    found = python_with("torch")
    if found is None:
        return []
    shield = ROOT / "python" / "torch-python" if PACKED.is_file() else BUILD / "torch-python"
    path = shlex.quote(os.environ.get("LD_LIBRARY_PATH", ""))  # as it was: of the driver, say
    shield.write_text(
        f"#!/bin/sh\nunset PYTHONHOME PYTHONPATH\nexport LD_LIBRARY_PATH={path}\n"
        f'[ "$LD_LIBRARY_PATH" ] || unset LD_LIBRARY_PATH\nexec {found[0]} "$@"\n'
    )
    shield.chmod(0o755)
    return ["--torch-python", shield]


def packed_environment() -> dict[str, str]:
    """How the programs of an archive find what they need; ends where CUDA is missing."""
    folders = [ROOT / "libs"]
    missing = []
    candidates = cuda_folders()
    for name in json.loads(PACKED.read_text(encoding="utf-8"))["machine"]:
        places = [folder for folder in candidates if (folder / name).exists()]
        if places:
            folders.append(places[0])
            continue
        try:
            ctypes.CDLL(name)  # the loader knows it
        except OSError:
            missing.append(name)
    if missing:
        sys.exit(
            f"{', '.join(missing)} not found on this machine: install CUDA's toolkit, or the "
            "packages nvidia-cublas, nvidia-curand and nvidia-nccl-cu13 for a python3 on the PATH"
        )
    # Last, and never left out: where this machine finds what it finds, its driver above all.
    theirs = [path for path in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if path]
    theirs += [str(path) for path in Path("/usr/local/nvidia").glob("lib*") if path.is_dir()]
    python = [
        ROOT / "caffe_ext" / "python",
        BUILD / "python",
        ROOT / "python" / "site-packages",
        borrow_opencv(),
    ]
    return {
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, dict.fromkeys([*folders, *theirs]))),
        "PYTHONHOME": str(ROOT / "python"),
        "PYTHONPATH": os.pathsep.join(map(str, python)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def machine() -> dict[str, object]:
    """What ran it."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, check=False, capture_output=True, text=True)
        gpus = done.stdout.splitlines() if done.returncode == 0 else []
    except OSError:
        gpus = []
    return {
        "gpus": gpus or NO_GPU,
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="tests/gpu/run here", description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "gpu", help="folder")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these steps")
    parser.add_argument(
        "--limit", type=float, default=600, metavar="SECONDS", help="of a step (default: 600)"
    )
    arguments = parser.parse_args()
    output: Path = arguments.output.resolve()
    output.mkdir(parents=True, exist_ok=True)

    path = os.pathsep.join([str(BUILD / "bin"), search_path()])
    environment = {**os.environ, "PATH": path}
    python = BUILD / "venv" / "bin" / "python"
    if PACKED.is_file():
        environment.update(packed_environment())
        python = ROOT / "python" / "bin" / "python3"

    about = machine()
    print(f"GPUs: {about['gpus']}", flush=True)
    records = []
    for step in steps(python, output):
        if arguments.only and step.name not in arguments.only:
            continue
        print(f"{step.name:14}", end="", flush=True)
        records.append(step.run(environment, output, arguments.limit, about["gpus"] != NO_GPU))
        print(f"{records[-1]['seconds']:8} s  {records[-1]['status']}", flush=True)
        summary = json.dumps({"machine": about, "steps": records}, indent=1)
        (output / "summary.json").write_text(summary + "\n", encoding="utf-8")
    failed = [record["name"] for record in records if str(record["status"]).startswith("failed")]
    if failed:
        sys.exit(f"Failed: {', '.join(map(str, failed))}; their logs are in {output}")
    print(f"All passed; logs: {output}")


if __name__ == "__main__":
    main()
