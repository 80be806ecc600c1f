"""What is linked in place of the libraries behind OpenCV's rarest formats, and what is not."""

import os
import subprocess
import sys
from pathlib import Path

from data_samples import CHECKOUT

SCRIPT = CHECKOUT / "caffe_ext" / "caffe" / "static_opencv.py"


def compile_library(folder: Path, name: str, code: str, *libraries: str) -> None:
    """Make lib<name>.so, and lib<name>.a of the same code."""
    source = folder / f"{name}.c"
    source.write_text(code)
    subprocess.run(["cc", "-fPIC", "-c", source, "-o", folder / f"{name}.o"], check=True)
    subprocess.run(["ar", "rc", folder / f"lib{name}.a", folder / f"{name}.o"], check=True)
    link = ["cc", "-shared", f"-Wl,-soname,lib{name}.so", str(folder / f"{name}.o")]
    link += [f"-L{folder}", "-Wl,--no-as-needed", *(f"-l{library}" for library in libraries)]
    subprocess.run([*link, "-o", str(folder / f"lib{name}.so")], check=True)


def run(script: Path, folder: Path) -> str:
    """Write the linker's script for the libraries in a folder; return the libraries to link."""
    done = subprocess.run(
        [sys.executable, SCRIPT, script, folder], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_a_function_of_two_libraries_is_that_of_the_one_that_is_kept(tmp_path: Path) -> None:
    # As Debian 13's libgdal, which has copies of std::string's functions.
    compile_library(tmp_path, "kept", "void in_both(void) {}")
    compile_library(
        tmp_path, "gdal", "void GDALOpen(void) {} void GDALAllRegister(void) {} void in_both() {}"
    )
    asking = (
        "void GDALOpen(void); void GDALAllRegister(void); void in_both(void);"
        "void read_image(void) { GDALAllRegister(); GDALOpen(); in_both(); }"
    )
    compile_library(tmp_path, "opencv_imgcodecs", asking, "gdal", "kept")
    for module in ("imgproc", "core"):
        compile_library(tmp_path, f"opencv_{module}", f"void {module}(void) {{}}")
    script = tmp_path / "script.ld"
    assert run(script, tmp_path) == "libkept.so\n"
    assert script.read_text() == (
        "PROVIDE(GDALAllRegister = caffe_left_out_ignore);\n"
        "PROVIDE(GDALOpen = caffe_left_out_refuse);\n"
    )


def test_the_script_is_written_only_if_it_changes(tmp_path: Path) -> None:
    # Each `make` configures, and would link everything again after a new script.
    for module in ("imgcodecs", "imgproc", "core"):
        compile_library(tmp_path, f"opencv_{module}", f"void {module}(void) {{}}")
    script = tmp_path / "script.ld"
    run(script, tmp_path)
    os.utime(script, (0, 0))
    run(script, tmp_path)
    assert script.stat().st_mtime == 0
    script.write_text("another\n")
    run(script, tmp_path)
    assert script.read_text() == ""
