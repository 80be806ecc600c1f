"""The build's environments: of which Python, and what becomes of one that fails half-way."""

import os
import subprocess
from pathlib import Path

from data_samples import CHECKOUT


def test_an_old_python_is_named(tmp_path: Path) -> None:
    python, build = tmp_path / "python3", tmp_path / "build"
    python.write_text("#!/bin/sh\necho 3.10\n")
    python.chmod(0o755)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(old LANGUAGES NONE)\n"
        f"include({CHECKOUT}/caffe_ext/python/environment.cmake)\n"
    )
    done = subprocess.run(
        ["cmake", "-S", tmp_path, "-B", build, f"-DCAFFE_EXT_PYTHON={python}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "is Python 3.10; caffe_ext needs 3.11 or newer" in " ".join(done.stderr.split())
    assert not (build / "venv").exists()


# Makes an environment whose pip fails while there is a file of that name, and whose mkdocs prints.
VENV = """#!/bin/sh
rm -rf "$4"; mkdir -p "$4/bin"
printf '#!/bin/sh\\necho pip\\ntest ! -e {fails}\\n' > "$4/bin/python"
printf '#!/bin/sh\\necho "$@"\\n' > "$4/bin/mkdocs"
chmod +x "$4/bin/python" "$4/bin/mkdocs"
"""


def test_tools_are_ready_only_if_all_were_installed(tmp_path: Path) -> None:
    python, build, fails = tmp_path / "bin" / "python3", tmp_path / "build", tmp_path / "fails"
    python.parent.mkdir()
    python.write_text(VENV.format(fails=fails))
    python.chmod(0o755)
    fails.touch()

    def make_docs() -> tuple[bool, list[str]]:
        done = subprocess.run(
            ["make", "--no-print-directory", "docs", f"BUILD={build}"],
            cwd=CHECKOUT,
            env=os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode == 0, done.stdout.splitlines()

    written = f"--quiet build --site-dir {build}/site"
    assert make_docs() == (False, ["pip"])
    fails.unlink()
    assert make_docs() == (True, ["pip", written])
    assert make_docs() == (True, [written])
