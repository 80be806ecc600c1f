"""Where a result comes from: the command, the software, the machine; for the record beside it."""

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from caffe_ext import PLUGIN, __version__
from caffe_ext.runtime.blas import UNKNOWN, Blas, describe_blas
from caffe_ext.runtime.checkout import CHECKOUT
from caffe_ext.runtime.device import get_current_device
from caffe_ext.runtime.system_libraries import list_system_libraries


@dataclass(frozen=True)
class Machine:
    """What a measurement depends on.

    cores       the processor cores that this process may use
    memory_gib  main memory in GiB
    system      the operating system, its kernel and the processor's architecture
    compiler    what the plug-in was compiled with
    libraries   the versions of the system's libraries that Caffe runs on, as far as known
    """

    cpu: str
    cores: int
    memory_gib: float
    system: str
    compiler: str
    blas: Blas
    python: str
    libraries: dict[str, str]


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from.

    date    of the call, ISO 8601, UTC
    commit  of the checkout that the package runs from, with "-dirty" if tracked files were changed
            since; None if it was installed from a wheel, or if unknown
    device  where Caffe computed: "CPU", or a GPU with its description
    """

    command: str
    date: str
    version: str
    commit: str | None
    device: str
    machine: Machine


def collect_provenance() -> Provenance:
    """Describe this process."""
    return Provenance(
        command=shlex.join(_find_command()),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        commit=find_commit(),
        device=get_current_device().describe(),
        machine=describe_machine(),
    )


def _find_command() -> list[str]:
    """Return the command that started this process, as typed."""
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    if module is not None and module.origin == sys.argv[0]:  # python -m, as Python starts it
        return ["python", "-m", module.name.removesuffix(".__main__"), *sys.argv[1:]]
    if sys.argv[0].endswith(".py") or not sys.argv[0]:
        return ["python", *sys.argv]
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def describe_machine() -> Machine:
    """Describe this machine; what cannot be determined is "unknown"."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kernel = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Machine(
        cpu=_find_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(memory / 2**30, 1),
        system=f"{_find_distribution()}, {kernel}",
        compiler=_read_compiler(PLUGIN),
        blas=describe_blas(),
        python=platform.python_version(),
        libraries=list_system_libraries(),
    )


def find_commit() -> str | None:
    """Return the commit of the checkout that the package runs from, as Provenance has it."""
    git = shutil.which("git")
    if git is None or CHECKOUT is None:
        return None
    # Without --exclude, a tag would take the place of the digest.
    command = [git, "-C", str(CHECKOUT), "describe", "--always", "--abbrev=40", "--dirty"]
    done = subprocess.run([*command, "--exclude=*"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_cpu() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or UNKNOWN


def _find_distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return UNKNOWN


def _read_compiler(library: Path) -> str:
    """Return what the compiler wrote about itself into the library's section .comment."""
    # Bounded, for the long runs of X that patchelf leaves in a library.
    pattern = rb"(GCC: \([^\0]*|[\w ]{0,40}clang version [^\0]*)\0"
    found = re.findall(pattern, library.read_bytes())
    return found[-1].decode(errors="replace").strip() if found else UNKNOWN
