"""Provenance records the versions of the system's libraries, and never fails for lack of one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from caffe_ext.runtime.system_libraries import find_loaded_files, list_system_libraries
from caffe_ext.storage.provenance import _read_compiler, describe_machine


@pytest.fixture(autouse=True)
def _ask_anew() -> Iterator[None]:
    list_system_libraries.cache_clear()
    yield
    list_system_libraries.cache_clear()


def test_the_libraries_under_caffe_are_recorded() -> None:
    recorded = describe_machine().libraries
    assert {"boost", "glog", "hdf5", "libc", "lmdb", "opencv", "protobuf"} <= recorded.keys()
    for name, version in recorded.items():
        assert any(character.isdigit() for character in version), (name, version)


@pytest.mark.parametrize("dpkg", ["", "exit 2", "kill $$", "echo nonsense", r"printf '\377: x\n'"])
def test_without_a_working_dpkg_the_files_names_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dpkg: str
) -> None:
    if dpkg:
        program = tmp_path / "dpkg-query"
        program.write_text(f"#!/bin/sh\n{dpkg}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_system_libraries()["protobuf"].startswith("libprotobuf.so.")


def test_files_are_read_from_the_list_of_mappings(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f10 r-xp 0000 08:01 1 /usr/lib/a b/libhdf5_serial.so.103.3.0\n"
        "7f10-7f20 r-xp 0000 08:01 2 /usr/lib/openblas-pthread/libopenblasp-r0.3.21.so\n"
        "7f20-7f30 r-xp 0000 08:01 3 /x/opencv_python.libs/libopenblasp-r0-59ffcd50.3.15.so\n"
        "7f30-7f40 r-xp 0000 08:01 4 /usr/lib/libhdf5_serial_hl.so.100.1.4\n"
        "7f40-7f50 r-xp 0000 08:01 5 /usr/lib/libc.so.6\n"
        "7f50-7f60 r-xp 0000 08:01 6 /usr/lib/libcrypto.so.3\n"
        "7f50-7f60 r-xp 0000 08:01 7 /x/caffe_ext.libs/libprotobuf-1fa3c07d.so.32.0.12\n"
        "7f60-7f70 rw-p 0000 00:00 0\n"
        "7f70-7f80 rw-p 0000 00:00 0 [heap]\n"
    )
    assert find_loaded_files(maps) == {
        "hdf5": Path("/usr/lib/a b/libhdf5_serial.so.103.3.0"),
        "libc": Path("/usr/lib/libc.so.6"),
        "openblas": Path("/usr/lib/openblas-pthread/libopenblasp-r0.3.21.so"),
        "protobuf": Path("/x/caffe_ext.libs/libprotobuf-1fa3c07d.so.32.0.12"),
    }
    assert find_loaded_files(tmp_path / "absent") == {}


def test_the_compiler_is_found_behind_what_patchelf_leaves(tmp_path: Path) -> None:
    library = tmp_path / "libx.so"
    library.write_bytes(b"X" * 3_000_000 + b"\0GCC: (Debian 12.2.0) 12.2.0\0")
    assert _read_compiler(library) == "GCC: (Debian 12.2.0) 12.2.0"
