"""Downloads that resume, try one mirror after the other, and keep only files with the right digest.

During the download a file is called `<name>.part`; it gets its own name once its MD5 is right.
"""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from caffe_ext.data.collection import RemoteFile
from caffe_ext.data.digest import describe_file
from caffe_ext.errors import DataError, UnreachableError
from caffe_ext.reporting import Reporter, Step

TIMEOUT_SECONDS = 15.0
_CHUNK = 1 << 16
# A broken connection is resumed as long as each attempt brings at least one byte.
_ATTEMPTS = 5


class _WrongFileError(Exception):
    """A mirror sent another file than the published one."""


def download(remote: RemoteFile, folder: Path, reporter: Reporter) -> Path:
    """Download a file into the folder, unless it is already there, and return its path.

    Raises UnreachableError if no mirror could be reached, DataError if the file received is not the
    published one, OSError if it cannot be written. A partial download is kept and resumed.
    """
    target = folder / remote.name
    if target.exists() and describe_file(target).md5 == remote.md5:
        return target
    part = folder / f"{remote.name}.part"
    unreachable, wrong = [], []
    for url in remote.urls:
        try:
            _download_from(url, part, remote, reporter)
        except UnreachableError as error:
            unreachable.append(f"{urlsplit(url).netloc}: {error}")
        except _WrongFileError as error:
            wrong.append(f"{urlsplit(url).netloc}: {error}")
        else:
            part.replace(target)
            return target
    if wrong:
        raise DataError(
            f"{'; '.join(wrong + unreachable)}; download {remote.name} (MD5 {remote.md5}) "
            "yourself and name its folder with --data-dir, or in CAFFE_EXT_DATA"
        )
    raise UnreachableError("; ".join(unreachable))


def _download_from(url: str, part: Path, remote: RemoteFile, reporter: Reporter) -> None:
    """Complete `part` from one mirror; if the resumed file is wrong, start over once."""
    resumed = part.exists()
    if resumed and part.stat().st_size > remote.size:
        part.unlink()
    _complete(url, part, remote, reporter)
    if describe_file(part).md5 == remote.md5:
        return
    part.unlink()
    if resumed:
        _complete(url, part, remote, reporter)
        if describe_file(part).md5 == remote.md5:
            return
        part.unlink()
    raise _WrongFileError(f"sent a file whose MD5 is not the published {remote.md5}")


def _complete(url: str, part: Path, remote: RemoteFile, reporter: Reporter) -> None:
    """Fetch until `part` has its full size."""
    have = _find_size(part)
    with reporter.show_progress(remote.name, remote.size, "B", have) as step:
        for _ in range(_ATTEMPTS):
            if have == remote.size:
                return
            before = have
            try:
                _append(url, part, remote, step)
                broken = "the connection was closed"
            except UnreachableError as error:
                broken = str(error)
            have = _find_size(part)
            if have <= before:
                raise UnreachableError(broken)
    if have != remote.size:
        raise UnreachableError(f"the connection broke {_ATTEMPTS} times")


def _append(url: str, part: Path, remote: RemoteFile, step: Step) -> None:
    """Request the missing bytes once, and write what arrives."""
    have = _find_size(part)
    headers = {"User-Agent": "caffe_ext"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        request = urllib.request.Request(url, headers=headers)
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        raise UnreachableError(f"HTTP {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise UnreachableError(_explain(error)) from error
    with response:
        resumes = response.status == http.HTTPStatus.PARTIAL_CONTENT and (
            response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        )
        if not resumes:
            step(-have)
            have = 0
        length = response.headers.get("Content-Length")
        if length is not None and not length.isdecimal():
            raise _WrongFileError(f"offers {length!r} bytes")
        if length is not None and have + int(length) != remote.size:
            raise _WrongFileError(
                f"offers {have + int(length):,} bytes, the published file has {remote.size:,}"
            )
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab" if resumes else "wb") as file:
            while chunk := _receive(response, remote.size - have):
                file.write(chunk)
                have += len(chunk)
                step(len(chunk))
            file.flush()
            os.fsync(file.fileno())


def _receive(response: http.client.HTTPResponse, wanted: int) -> bytes:
    """Return the next bytes, none at the end; raises if a mirror sends too much."""
    try:
        return response.read(min(_CHUNK, wanted))
    except (http.client.HTTPException, OSError) as error:
        raise UnreachableError(_explain(error)) from error


def _explain(error: Exception) -> str:
    """Return why a connection failed, without error numbers."""
    cause = getattr(error, "reason", error)
    return str(getattr(cause, "strerror", None) or cause)


def _find_size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
