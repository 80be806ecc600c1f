"""Check what this installation consists of, whether it works, and what to do if it does not."""

# The package, which loads Caffe, is imported late: --help is instant, and a broken Caffe is a line.
# ruff: noqa: PLC0415

import argparse
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from caffe_ext import __version__
from caffe_ext._plugin import describe_hiding_module, find_module_hiding_pycaffe
from caffe_ext.cli.console import run_program
from caffe_ext.cli.parser import create_parser
from caffe_ext.runtime.installation import explain_reinstallation, is_wheel

EPILOG = """\
each line
  ok       works
  note     works; it could be faster, or something optional is missing
  problem  does not work; the line says what to do
exit status
  0, or 1 if there is a problem

examples
  caffe-ext doctor
  caffe-ext doctor --json > doctor.json
"""
PACKAGES = ("numpy", "protobuf", "h5py", "opencv-python-headless", "lmdb", "matplotlib")
DATA_SETS = ("mnist", "cifar10")


@dataclass(frozen=True)
class Finding:
    """What was found out about one thing.

    status  "ok", "note" or "problem"
    remedy  what to do; empty where there is nothing to do
    """

    about: str
    status: str
    found: str
    remedy: str = ""


def find_package() -> Finding:
    """Return the version of this package and of Python, and where they are."""
    folder = Path(__file__).parents[1]
    python = f"Python {platform.python_version()} ({sys.executable})"
    return Finding("caffe_ext", "ok", f"{__version__} in {folder}, {python}")


def find_packages() -> Finding:
    """Return the versions of the packages that results may depend on."""
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        remedy = f"pip install {' '.join(missing)}"
        if not is_wheel():
            remedy += ", or run `make` for an environment with all of them"
        return Finding("packages", "problem", f"not installed: {', '.join(missing)}", remedy)
    return Finding("packages", "ok", ", ".join(found))


def find_caffe() -> Finding:
    """Return which pycaffe is imported."""
    hiding = find_module_hiding_pycaffe()
    if hiding is not None:
        return Finding("Caffe", "problem", *describe_hiding_module(hiding))
    try:
        import caffe
    except ImportError as error:
        found = f"pycaffe cannot be imported: {error}"
        return Finding("Caffe", "problem", found, describe_mixed_libraries() or _explain_import())
    return Finding("Caffe", "ok", f"{caffe.__version__} in {Path(caffe.__file__).parent}")


def describe_mixed_libraries() -> str:
    """Return what to do about another libcaffe that the dynamic linker finds first, if any."""
    for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        if folder and next(Path(folder).glob("libcaffe*.so*"), None):
            return f"take {folder}, where another Caffe is, out of LD_LIBRARY_PATH"
    return ""


def _explain_import() -> str:
    """Return how to get a Caffe that can be imported."""
    return explain_reinstallation() + ("" if is_wheel() else ", or put its folder on PYTHONPATH")


def find_plugin() -> Finding:
    """Return which libcaffe_ext is loaded, and whether BANG is there."""
    import caffe

    from caffe_ext import PLUGIN

    if "GaussianNoise" not in list(caffe.layer_type_list()):
        remedy = "two builds are mixed: see PYTHONPATH, LD_LIBRARY_PATH and CAFFE_EXT_LIBRARY"
        return Finding("plug-in", "problem", f"{PLUGIN} is loaded into another Caffe", remedy)
    return Finding("plug-in", "ok", f"{PLUGIN}")


def find_program() -> Finding:
    """Return which `caffe` a shell runs, and whether it belongs to the plug-in."""
    from caffe_ext import PLUGIN

    folder = Path(sys.executable).parent if is_wheel() else PLUGIN.parents[1] / "bin"
    program = shutil.which("caffe")
    if program is None:
        environment = folder if is_wheel() else folder.parent / "venv" / "bin"
        remedy = f"`. {environment}/activate`, or put {folder} on PATH"
        return Finding("program", "note", "no `caffe` on PATH", remedy)
    if Path(program).resolve() != (folder / "caffe").resolve():
        remedy = f"put {folder} first on PATH"
        return Finding("program", "note", f"{program} is another Caffe, without BANG", remedy)
    return Finding("program", "ok", program)


def find_blas() -> Finding:
    """Return the BLAS that Caffe calls, and whether it knows this processor."""
    from caffe_ext.runtime.blas import describe_blas, describe_slow_blas
    from caffe_ext.storage.provenance import describe_machine

    blas = describe_blas()
    found = f"{blas.name} {blas.version}, kernels for {blas.core}, on {describe_machine().cpu}"
    slow = describe_slow_blas()
    return Finding("BLAS", "note" if slow else "ok", found, slow)


def find_engine() -> Finding:
    """Return whether the engine is on, and its threads."""
    from caffe_ext.runtime import engine

    threads, cores = engine.get_threads(), len(os.sched_getaffinity(0))
    if not engine.is_enabled():
        return Finding("engine", "note", "off", "unset CAFFE_EXT_ENGINE")
    vectors = {16: "AVX-512", 8: "AVX2"}.get(engine.get_vector_lanes(), "none")
    found = f"on, threads: {threads}, cores: {cores}, vectors: {vectors}"
    if threads > cores:
        remedy = f"set OMP_NUM_THREADS to {cores} or less"
        return Finding("engine", "note", found, remedy)
    return Finding("engine", "ok", found)


def find_gpu() -> Finding:
    """Return the GPUs that Caffe could compute on."""
    from caffe_ext.errors import DeviceError
    from caffe_ext.runtime.device import Device, count_gpus

    count = count_gpus()
    if count is None:
        return Finding("GPU", "ok", "none: this Caffe was built for the CPU (`make CUDA=1`)")
    try:
        for number in range(max(count, 1)):
            Device(number).check()
    except DeviceError as error:
        return Finding("GPU", "note", f"{error}", "compute on the CPU, or mend the driver")
    return Finding("GPU", "ok", ", ".join(Device(number).describe() for number in range(count)))


def find_data(name: str) -> Finding:
    """Return whether a data set is ready for `caffe train`."""
    from caffe_ext.data import read_record
    from caffe_ext.runtime.checkout import DATA, shorten_path

    folder, get = DATA / name, f"caffe-ext get-data {name}"
    record = read_record(folder)
    if record is None:
        known = "is not by get-data, or damaged" if folder.exists() else "is not there"
        return Finding(name, "note", f"{shorten_path(folder)} {known}", get)
    return Finding(name, "ok", f"{record.content} in {shorten_path(folder)}, {record.origin}")


def examine() -> list[Finding]:
    """Look at everything; where Caffe cannot be imported, only at what needs no Caffe."""
    findings = [find_package(), find_packages(), find_caffe()]
    if any(finding.status == "problem" for finding in findings):
        return findings
    checks: list[Callable[[], Finding]] = [
        find_plugin, find_program, find_blas, find_engine, find_gpu,
    ]  # fmt: skip
    for check in checks:
        try:
            findings.append(check())
        except ImportError as error:  # the plug-in
            findings.append(Finding("plug-in", "problem", f"{error}", _explain_import()))
            return findings
    return [*findings, *map(find_data, DATA_SETS)]


def describe(findings: Sequence[Finding]) -> str:
    """Return one line for each."""
    width = max(len(finding.about) for finding in findings)
    return "\n".join(
        f"{finding.status:<8} {finding.about:<{width}}  {finding.found}"
        + (f"; {finding.remedy}" if finding.remedy else "")
        for finding in findings
    )


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of this program."""
    parser = create_parser("doctor", __doc__, EPILOG)
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    arguments = make_parser().parse_args(argv)
    findings: list[Finding] = []

    def run(arguments: argparse.Namespace) -> None:
        findings.extend(examine())
        as_json = [asdict(finding) for finding in findings]
        print(json.dumps(as_json, indent=2) if arguments.json else describe(findings))

    status = run_program(run, arguments)
    return status or int(any(finding.status == "problem" for finding in findings))
