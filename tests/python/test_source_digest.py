"""The digest of the sources that libcaffe_ext was built from: source_digest.cmake."""

import re
import subprocess
from hashlib import sha256
from pathlib import Path

from caffe_ext.runtime.native import get_source_digest

SCRIPT = Path(__file__).parents[2] / "caffe_ext" / "source_digest.cmake"


def write_header(folder: Path, names: list[str]) -> Path:
    """Run the script on files of a folder; return the header, which lies in it."""
    paths = {"LIST": folder / "list.txt", "HEADER": folder / "digest.hpp", "FOLDER": folder}
    paths["LIST"].write_text("".join(f"{name}\n" for name in names))
    definitions = [f"-D{name}={path}" for name, path in paths.items()]
    subprocess.run(["cmake", *definitions, "-P", SCRIPT], check=True)
    return paths["HEADER"]


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    files = {"b.txt": "two", "src/a.cpp": "one"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    lines = [f"{sha256(text.encode()).hexdigest()}  {name}\n" for name, text in files.items()]
    header = write_header(tmp_path, list(files))
    (found,) = re.findall(r'"(.*)"', header.read_text())
    assert found == sha256("".join(lines).encode()).hexdigest()
    stamp = header.stat().st_mtime_ns
    write_header(tmp_path, list(files)[::-1])
    assert header.stat().st_mtime_ns == stamp  # nothing is compiled again
    for change in ({"b.txt": "one"}, {"b.txt": "two", "src/a.cpp": "another"}):
        for name, text in change.items():
            (tmp_path / name).write_text(text)
        assert found not in write_header(tmp_path, list(files)).read_text()


def test_the_library_has_a_digest() -> None:
    assert re.fullmatch("[0-9a-f]{64}", get_source_digest())
