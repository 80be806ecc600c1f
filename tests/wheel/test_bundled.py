"""What must not be in a wheel is refused, what is in it can be told, and anybody may read it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "caffe_ext/distribution"))
from build_wheel import set_modes
from bundled import LicenceError, licence_of
from stand_ins import make_stand_ins, needed


def test_the_gpl_and_unknown_licences_are_refused() -> None:
    with pytest.raises(LicenceError, match=r"is under GPL-2\.0-or-later"):
        licence_of("libjbig-12345678.so.0", {"libjbig": "MIT AND GPL-2.0-or-later"})
    with pytest.raises(LicenceError, match=r"the licence of libjbig-12345678\.so\.0 is unknown"):
        licence_of("libjbig-12345678.so.0")


def test_a_library_is_found_by_the_beginning_of_its_name() -> None:
    assert licence_of("libz-12345678.so.1.2") == "Zlib"
    assert licence_of("libzstd-12345678.so.1") == "BSD-3-Clause"
    assert licence_of("libboost_python311-1.so") == "BSL-1.0"
    assert "GCC-exception" in licence_of("libscipy_openblas.so")


def test_stand_ins_need_nothing_else(tmp_path: Path) -> None:
    tiff = next(Path("/usr/lib").rglob("libtiff.so.*"), None)
    if tiff is None:
        pytest.skip("no libtiff")
    for library in make_stand_ins(tiff, tmp_path / "stand_ins").glob("*.so*"):
        assert needed(library) == ["libc.so.6"] or needed(library) == []


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    folder = tmp_path / "caffe"
    folder.mkdir(mode=0o700)
    for name, mode in (("io.py", 0o600), ("_caffe.so", 0o700), ("draw.py", 0o664)):
        (folder / name).touch()
        (folder / name).chmod(mode)
    set_modes(tmp_path)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"caffe": 0o755, "io.py": 0o644, "_caffe.so": 0o755, "draw.py": 0o644}
