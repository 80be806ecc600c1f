"""Find out how to link OpenCV's archives without the libraries behind its rarest image formats.

    python3 static_opencv.py SCRIPT FOLDER

OpenCV's imgcodecs reads NITF, DTED, DICOM and OpenEXR through GDAL, GDCM and OpenEXR, which bring
a hundred more libraries into every process, some of them under the GPL; its core calls OpenGL and
LAPACK for what Caffe does not use. The linker script SCRIPT takes from left_out.cpp what the
archives ask of these libraries. The other libraries that OpenCV needs are printed, one a line.

FOLDER has libopencv_core, libopencv_imgproc and libopencv_imgcodecs, .so and .a of each.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

MODULES = ("imgcodecs", "imgproc", "core")
LEFT_OUT = re.compile(
    r"lib(gdal|gdcm\w+|OpenEXR\w*|Imath|Iex|IlmThread|GL|GLX|OpenGL|EGL|lapack|blas|openblas)\b"
)
SYSTEM = re.compile(r"lib(c|m|gcc_s|stdc\+\+|opencv_\w+)\.so|ld-linux")
# GDAL's entry and the constructor of a member of OpenCV's OpenEXR reader: OpenCV calls both when
# it registers the formats.
CALLED_AT_START = re.compile(r"GDALAllRegister|_ZN\w+14ChromaticitiesC[12]E")


def run(*command: str | Path) -> str:
    """Return what a program prints; its failure is an error."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed(library: Path) -> list[str]:
    """Return the names of the libraries that a shared library is linked with."""
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run("readelf", "--dynamic", "--wide", library))


def symbols(file: Path, *options: str) -> set[str]:
    """Return the names that nm lists, without their versions."""
    lines = run("nm", "--format=posix", *options, file).splitlines()
    return {line.split()[0].split("@")[0] for line in lines if len(line.split()) > 1}


def names_to_provide(asked: set[str], left_out: set[str], kept: set[str]) -> list[str]:
    """Return which of the names that the archives ask for must come from left_out.cpp.

    A library that is left out may also have a copy of a function that is another one's: of the
    templates that are compiled into libstdc++, for one. That stays libstdc++'s.
    """
    return sorted((asked & left_out) - kept)


def main() -> None:
    """Run the program."""
    script, folder = map(Path, sys.argv[1:])
    libraries: dict[str, None] = {}
    asked: set[str] = set()
    for module in MODULES:
        libraries |= dict.fromkeys(needed(folder / f"libopencv_{module}.so"))
        asked |= symbols(folder / f"libopencv_{module}.a", "--undefined-only")
    kept: set[str] = set()
    left_out: set[str] = set()
    for library in libraries:
        file = folder / library
        if LEFT_OUT.match(library):
            left_out |= symbols(file, "--dynamic", "--defined-only")
        elif not library.startswith("libopencv_"):
            if file.is_file():  # the dynamic linker itself is elsewhere
                kept |= symbols(file, "--dynamic", "--defined-only")
            if not SYSTEM.match(library):
                print(library)
    lines = []
    for name in names_to_provide(asked, left_out, kept):
        function = "ignore" if CALLED_AT_START.match(name) else "refuse"
        lines.append(f"PROVIDE({name} = caffe_left_out_{function});")
    text = "".join(f"{line}\n" for line in lines)
    if not (script.exists() and script.read_text(encoding="utf-8") == text):
        script.write_text(text, encoding="utf-8")  # otherwise every `make` would link again


if __name__ == "__main__":
    main()
