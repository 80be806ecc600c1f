#!/usr/bin/env python3
"""Put the pinned, verified and patched source of BVLC Caffe 1.0 into a folder.

    python3 get_source.py OUTPUT [--from FOLDER_OR_ARCHIVE]

The sources are looked for, in this order:

1. ``--from``: a folder or an archive that the user names (CMake: ``-DCAFFE_SOURCE_DIR=``);
2. the cache, ``$XDG_CACHE_HOME/caffe_ext`` (by default ``~/.cache/caffe_ext``);
3. Debian's source package of Caffe, through apt-get with a private configuration, so that the
   system's own apt files are left alone;
4. GitHub's archive of the commit.

Whatever the way, every file is compared with ``SHA256SUMS`` before anything is built from it, and
only the files listed there are used; of an archive only these are written. Then ``patches/*.patch``
are applied in the order of their names. A second run with the same patches does nothing; after a
change of the patches only the files that differ are written, so that a build recompiles no more
than it must.

Needs nothing but Python's standard library, and the programs ``patch`` and, for 3, ``apt-get``.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

COMMIT = "99bd99795dcdf0b1d3086a8d67ab1782a8a08383"
DEBIAN_VERSION = "1.0.0+git20180821.99bd997-8"
DEBIAN_SUITE = "bullseye"
ARCHIVE_NAME = "caffe-99bd997.tar.gz"
GITHUB_ARCHIVE = f"https://github.com/BVLC/caffe/archive/{COMMIT}.tar.gz"

HERE = Path(__file__).resolve().parent
MANIFEST = HERE / "SHA256SUMS"
PATCHES = HERE / "patches"
STAMP = ".patched"
LARGEST_FILE = 64 << 20  # bytes; Caffe's largest has 10 % of that


class SourceError(Exception):
    """Caffe's source could not be obtained; the message says why and what to do."""


def manifest() -> dict[str, str]:
    """Relative path -> SHA-256 of every file of the pinned commit that is used."""
    lines = MANIFEST.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def verify(tree: Path) -> None:
    """Compare `tree` with the manifest; raise SourceError at the first difference."""
    for name, digest in manifest().items():
        path = tree / name
        if not path.is_file():
            raise SourceError(f"{tree} is not Caffe's commit {COMMIT[:9]}: {name} is missing")
        check_digest(tree, name, path.read_bytes(), digest)


def check_digest(origin: Path, name: str, content: bytes, digest: str) -> None:
    """Raise SourceError if a file of a tree or an archive is not that of the pinned commit."""
    if hashlib.sha256(content).hexdigest() != digest:
        raise SourceError(
            f"{origin} is not Caffe's commit {COMMIT[:9]}: {name} differs (it must have the "
            f"SHA-256 {digest}); give an unmodified checkout of that commit"
        )


def unpack(archive: Path, into: Path) -> Path:
    """Unpack a tar archive whose top level is one folder, or the tree itself; return the tree.

    Written are only the regular files that the manifest names, with the content that it asks for:
    members with other names, which could lead out of the folder, and links are passed over.
    """
    digests = manifest()
    try:
        with tarfile.open(archive) as tar:
            top = top_folder(archive, [member.name for member in tar])
            for member in tar:
                name = member.name.removeprefix("./").removeprefix(top)
                if name not in digests or not member.isreg() or member.size > LARGEST_FILE:
                    continue
                file = tar.extractfile(member)
                content = b"" if file is None else file.read()
                check_digest(archive, name, content, digests[name])
                (into / name).parent.mkdir(parents=True, exist_ok=True)
                (into / name).write_bytes(content)
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise SourceError(f"{archive} cannot be unpacked: {error}") from error
    return into


def top_folder(archive: Path, members: list[str]) -> str:
    """Return "FOLDER/" if all members are in one folder, "" if they are the tree itself."""
    names = [name.removeprefix("./") for name in members]
    if any(name.startswith("src/caffe/") for name in names):
        return ""
    folders = {name.partition("/")[0] for name in names} - {"", "."}
    if len(folders) != 1:
        raise SourceError(f"{archive} holds no source of Caffe")
    return f"{folders.pop()}/"


def cache_folder() -> Path:
    """Where the archive is kept between builds."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "caffe_ext"


def debian_mirrors() -> list[str]:
    """URIs in this machine's own apt configuration that look like a mirror of Debian."""
    folder = Path("/etc/apt")
    files = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    mirrors = []
    for path in files:
        if path.suffix in (".list", ".sources") and path.is_file():
            text = re.sub(r"(?m)#.*$", "", path.read_text(encoding="utf-8", errors="replace"))
            mirrors += re.findall(r"\b[a-z+-]+:/\S*?/debian/?(?=\s|$)", text)
    return list(dict.fromkeys(mirrors))


def apt_get(options: dict[str, str], arguments: list[str], folder: Path) -> None:
    """Run apt-get in `folder`; raise SourceError with its last line where it fails."""
    command = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in options.items())]
    done = subprocess.run(
        command + arguments,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise SourceError(f"apt-get {arguments[0]} failed: {reason}")


def fetch_debian(into: Path) -> Path:
    """Download the orig tarball of Debian's source package; return its path."""
    mirrors = debian_mirrors()
    if not shutil.which("apt-get") or not mirrors:
        raise SourceError("this machine has no apt-get with a mirror of Debian")
    keyring = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
    signed_by = f"Signed-By: {keyring}\n" if keyring.exists() else ""
    refusals = []
    for number, mirror in enumerate(mirrors):
        folder = into / str(number)
        for name in ("sources", "lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "sources" / "caffe.sources").write_text(
            f"Types: deb-src\nURIs: {mirror}\nSuites: {DEBIAN_SUITE}\nComponents: main\n"
            + signed_by,
            encoding="utf-8",
        )
        options = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": str(folder / "sources"),
            "Dir::State::Lists": str(folder / "lists"),
            "Dir::Cache": str(folder / "cache"),
            "APT::Sandbox::User": "",
            "APT::Update::Error-Mode": "any",
            "Acquire::Retries": "3",
        }
        try:
            apt_get(options, ["update"], folder)
            apt_get(options, ["source", "--download-only", f"caffe={DEBIAN_VERSION}"], folder)
        except SourceError as error:
            refusals.append(str(error))
            continue
        found = list(folder.glob("caffe_*.orig.tar.gz"))
        if found:
            return found[0]
    raise SourceError("; ".join(refusals) or "apt-get source brought no orig tarball")


def fetch_github(into: Path) -> Path:
    """Download GitHub's archive of the commit; return its path."""
    path = into / ARCHIVE_NAME
    try:
        with urllib.request.urlopen(GITHUB_ARCHIVE, timeout=60) as reply, path.open("wb") as file:
            shutil.copyfileobj(reply, file)
    except (urllib.error.URLError, OSError) as error:
        raise SourceError(f"{GITHUB_ARCHIVE}: {error}") from error
    return path


def obtain(given: Path | None, scratch: Path) -> Path:
    """Return a verified, unpatched tree of Caffe, made in `scratch` unless it was given."""
    if given is not None:
        if not given.exists():
            raise SourceError(f"CAFFE_SOURCE_DIR: {given} does not exist")
        tree = given if given.is_dir() else unpack(given, scratch / "given")
        verify(tree)
        return tree

    cached = cache_folder() / ARCHIVE_NAME
    refusals = []
    if cached.is_file():
        try:
            tree = unpack(cached, scratch / "cached")
            verify(tree)
        except SourceError as error:
            refusals.append(f"the cache: {error}")
        else:
            print(f"-- Caffe's source: {cached}")
            return tree
    for name, fetch in (("Debian's source package", fetch_debian), ("GitHub", fetch_github)):
        print(f"-- Caffe's source: asking {name}", flush=True)
        folder = scratch / fetch.__name__
        folder.mkdir()
        try:
            archive = fetch(folder)
            tree = unpack(archive, folder / "tree")
            verify(tree)
        except SourceError as error:
            refusals.append(f"{name}: {error}")
            continue
        keep(archive, cached)
        return tree
    raise SourceError(
        "Caffe's source could not be obtained.\n  "
        + "\n  ".join(refusals)
        + f"\nConnect to the network, or fetch commit {COMMIT} of BVLC/caffe yourself and name it "
        "with -DCAFFE_SOURCE_DIR=folder_or_archive"
    )


def keep(archive: Path, cached: Path) -> None:
    """Copy `archive` to the cache; a cache that cannot be written is no error."""
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        partial = cached.with_suffix(f".{os.getpid()}")
        shutil.copyfile(archive, partial)
        partial.replace(cached)
    except OSError as error:
        print(f"-- Caffe's source: not kept in the cache ({error})")


def apply_patches(tree: Path) -> None:
    """Apply patches/*.patch to `tree`; every hunk must fit exactly."""
    if not shutil.which("patch"):
        raise SourceError("the program 'patch' is missing; install it (Debian: apt install patch)")
    for path in sorted(PATCHES.glob("*.patch")):
        command = ["patch", "-p1", "--batch", "--fuzz=0", "--no-backup-if-mismatch", f"-i{path}"]
        done = subprocess.run(command, check=False, cwd=tree, capture_output=True, text=True)
        if done.returncode != 0:
            raise SourceError(f"{path.name} does not apply:\n{done.stdout}{done.stderr}")


def update(source: Path, target: Path) -> None:
    """Make `target` equal to `source`; files that are equal already keep their time stamps."""
    wanted = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    for path in list(target.rglob("*")):
        if path.is_file() and path.relative_to(target) not in wanted:
            path.unlink()
    for name in sorted(wanted):
        old, new = target / name, source / name
        if not old.is_file() or old.read_bytes() != new.read_bytes():
            old.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(new, old)


def state_of_pin() -> str:
    """Digest of all that decides how the patched tree looks."""
    digest = hashlib.sha256(MANIFEST.read_bytes())
    for path in sorted(PATCHES.glob("*.patch")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Run the program."""
    parser = argparse.ArgumentParser(description="Get BVLC Caffe's source, verified and patched.")
    parser.add_argument("output", type=Path, help="folder for the patched tree")
    parser.add_argument("--from", dest="given", type=Path, help="a folder or archive of the commit")
    arguments = parser.parse_args()

    output: Path = arguments.output.resolve()
    stamp = output / STAMP
    wanted = state_of_pin()
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return
    output.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent) as scratch:
        tree = obtain(arguments.given, Path(scratch))
        patched = Path(scratch) / "patched"
        for name in manifest():
            (patched / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tree / name, patched / name)
        apply_patches(patched)
        update(patched, output)
    stamp.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except SourceError as error:
        sys.exit(f"get_source.py: {error}")
