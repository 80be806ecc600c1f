"""Libraries that take the places of those that must not, or need not, be in the wheel.

* JBIG-KIT, under the GPL, which libtiff calls for faxes: absent_jbig.c.
* libcurl and OpenSSL, which HDF5 calls for files in Amazon's S3, and thirty libraries under them:
  functions that say so and end the program. Caffe opens only files.

They have the names, the functions and the versions of functions of the libraries that they replace.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
UNCALLED = ("libcurl", "libcrypto")
JBIG = "libjbig"


def run(*command: str | Path) -> str:
    """Return what a program prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def libraries_under(library: Path) -> dict[str, Path]:
    """Return the paths of all shared libraries that one needs, by their names."""
    found = re.findall(r"^\s*(\S+) => (/\S+)", run("ldd", library), re.MULTILINE)
    return {name: Path(path) for name, path in found}


def compile_stand_in(output: Path, source: Path, *options: str) -> None:
    """Compile a library that has the name `output`."""
    flags = ("-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-g0")
    run("cc", *flags, f"-Wl,-soname,{output.name}", *options, source, "-o", output)


def make_uncalled(output: Path, users: list[Path], replaced: Path) -> None:
    """Make a library of functions that are never called, for those that `users` ask for."""
    defined = symbols(replaced, "--defined-only")
    asked = {symbol for user in users for symbol in symbols(user, "--undefined-only")} & defined
    source, script = output.with_suffix(".c"), output.with_suffix(".map")
    functions = "".join(
        f"void {symbol.partition('@')[0]}(void) {{ refuse(); }}\n" for symbol in sorted(asked)
    )
    source.write_text(
        "#include <stdio.h>\n#include <stdlib.h>\n"
        "static void refuse(void) {\n"
        f'  fputs("{output.name} is not part of this wheel\\n", stderr);\n  abort();\n}}\n'
        + functions
    )
    versions: dict[str, list[str]] = {}
    for symbol in sorted(asked):
        name, _, version = symbol.partition("@")
        versions.setdefault(version, []).append(name)
    script.write_text(
        "".join(f"{version} {{ {'; '.join(names)}; }};\n" for version, names in versions.items())
    )
    versioned = [f"-Wl,--version-script={script}"] if all(versions) else []
    compile_stand_in(output, source, *versioned)


def symbols(library: Path, kind: str) -> set[str]:
    """Return the dynamic symbols of a library, as NAME@VERSION."""
    lines = run("nm", "--dynamic", "--format=posix", kind, library).splitlines()
    return {line.split()[0].replace("@@", "@") for line in lines if line.strip()}


def make_stand_ins(library: Path, folder: Path) -> Path:
    """Make those that a library, or one under it, would otherwise load; return folder."""
    folder.mkdir()
    under = libraries_under(library)
    for name, path in under.items():
        if name.startswith(JBIG):
            compile_stand_in(folder / name, HERE / "absent_jbig.c")
        elif name.startswith(UNCALLED):
            users = [user for user in under.values() if name in needed(user)]
            users = [user for user in users if user.name.startswith("libhdf5")]
            make_uncalled(folder / name, users, path)
    return folder


def needed(library: Path) -> list[str]:
    """Return the names of the libraries that one is linked with."""
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "--dynamic", "--wide", library))
