"""caffe/get_source.py: of an archive only the files of the pinned commit are written."""

import importlib.util
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[2] / "caffe_ext" / "caffe" / "get_source.py"
FILES = {"LICENSE": b"a licence", "src/caffe/net.cpp": b"int main() {}"}


@pytest.fixture
def get_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program as a module, with a manifest of FILES and nothing in the cache."""
    spec = importlib.util.spec_from_file_location("get_source", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    digests = tmp_path / "SHA256SUMS"
    lines = [f"{module.hashlib.sha256(FILES[name]).hexdigest()}  {name}\n" for name in FILES]
    digests.write_text("".join(lines))
    monkeypatch.setattr(module, "MANIFEST", digests)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return module


def regular(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    return member, content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member, b""


def archive(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = folder / "caffe.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return path


def below(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.parametrize("top", ["", "./", "caffe-99bd997/", "./caffe/"])
def test_the_files_of_the_commit_are_written(
    get_source: ModuleType, tmp_path: Path, top: str
) -> None:
    members = [regular(top + name, content) for name, content in FILES.items()]
    given = archive(tmp_path, *members, regular(f"{top}tests/other.cpp", b"not listed"))
    tree = get_source.obtain(given, tmp_path / "scratch")
    assert below(tree) == FILES


HOSTILE: dict[str, Callable[[Path], list[tuple[tarfile.TarInfo, bytes]]]] = {
    "climbing": lambda outside: [regular(f"caffe/{'../' * 20}{outside}/x", b"evil")],
    "absolute": lambda outside: [regular(f"{outside}/x", b"evil")],
    "through a link": lambda outside: [
        link("caffe/src", str(outside)),
        regular("caffe/src/x", b"evil"),
        regular("caffe/src/caffe/net.cpp", FILES["src/caffe/net.cpp"]),
    ],
    "a link in a file's place": lambda outside: [link("caffe/LICENSE", str(outside / "secret"))],
    "a hard link": lambda outside: [
        link("caffe/LICENSE", str(outside / "secret"), tarfile.LNKTYPE)
    ],
    "a device": lambda _: [link("caffe/LICENSE", "", tarfile.CHRTYPE)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_written_outside(get_source: ModuleType, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"a secret")
    given = archive(tmp_path, *HOSTILE[name](outside))
    with pytest.raises(get_source.SourceError, match=r"LICENSE is missing$|no source of Caffe$"):
        get_source.obtain(given, tmp_path / "scratch")
    assert below(outside) == {"secret": b"a secret"}
    written = below(tmp_path / "scratch" / "given")
    assert written.items() <= FILES.items()


def test_a_file_that_differs_is_not_written(get_source: ModuleType, tmp_path: Path) -> None:
    given = archive(tmp_path, regular("caffe/LICENSE", b"another"))
    with pytest.raises(get_source.SourceError, match=r"99bd99795: LICENSE differs \(it must have"):
        get_source.obtain(given, tmp_path / "scratch")
    assert below(tmp_path / "scratch") == {}


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_an_archive_that_is_cut_off(get_source: ModuleType, tmp_path: Path, share: float) -> None:
    given = archive(tmp_path, *(regular(f"caffe/{name}", FILES[name]) for name in FILES))
    content = given.read_bytes()
    given.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(get_source.SourceError, match=r"cannot be unpacked: |missing$"):
        get_source.obtain(given, tmp_path / "scratch")
