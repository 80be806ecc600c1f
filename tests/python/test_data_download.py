"""Downloads from a local server: resumed, verified, and from the next mirror."""

import dataclasses
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from caffe_ext.data import DataError, SilentReporter, UnreachableError
from caffe_ext.data import download as download_module
from caffe_ext.data.collection import RemoteFile
from caffe_ext.data.digest import compute_md5
from caffe_ext.data.download import download
from data_samples import Server, nobody, serving

CONTENT = bytes(range(256)) * 2_000
NAME = "file.gz"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server({NAME: CONTENT})) as running:
        yield running


def remote(*urls: str) -> RemoteFile:
    return RemoteFile(NAME, len(CONTENT), compute_md5(CONTENT), tuple(u + NAME for u in urls))


def fetch(file: RemoteFile, folder: Path) -> None:
    path = download(file, folder, SilentReporter())
    assert path == folder / NAME
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in folder.iterdir()] == [NAME]


def test_a_file_is_fetched_once(tmp_path: Path, server: Server) -> None:
    fetch(remote(server.url), tmp_path / "new" / "folder")
    fetch(remote(server.url), tmp_path / "new" / "folder")
    assert server.asked == [(NAME, None)]


def test_a_partial_file_is_resumed(tmp_path: Path, server: Server) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:100_000])
    fetch(remote(server.url), tmp_path)
    assert server.asked == [(NAME, "bytes=100000-")]


def test_a_whole_partial_file_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT)
    fetch(remote(nobody()), tmp_path)


def test_a_server_without_ranges_sends_it_all_again(tmp_path: Path, server: Server) -> None:
    server.ranges = False
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:100_000])
    fetch(remote(server.url), tmp_path)
    assert len(server.asked) == 1


def test_a_broken_connection_is_taken_up_again(tmp_path: Path, server: Server) -> None:
    server.break_after = 200_000
    fetch(remote(server.url), tmp_path)
    assert [span for _, span in server.asked] == [None, "bytes=200000-", "bytes=400000-"]


def test_what_a_hopeless_connection_brought_stays(tmp_path: Path, server: Server) -> None:
    server.break_after = 1_000
    with pytest.raises(UnreachableError):
        download(remote(server.url), tmp_path, SilentReporter())
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT[:5_000]
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("damage", [b"x" + CONTENT[1:1000], b"x" * len(CONTENT), CONTENT + b"x"])
def test_a_damaged_partial_file_is_replaced(tmp_path: Path, server: Server, damage: bytes) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(damage)
    fetch(remote(server.url), tmp_path)


def test_the_next_mirror_is_asked(tmp_path: Path, server: Server) -> None:
    with serving(Server({})) as empty, serving(Server({NAME: CONTENT[::-1]})) as wrong:
        fetch(remote(nobody(), empty.url, wrong.url, server.url), tmp_path)
        assert len(server.asked) == len(wrong.asked) == len(empty.asked) == 1


def test_no_mirror_is_unreachable(tmp_path: Path) -> None:
    with (
        serving(Server({})) as empty,
        pytest.raises(UnreachableError, match=r"^127\.0\.0\.1:\d+: Connection refused; .*HTTP 404"),
    ):
        download(remote(nobody(), empty.url), tmp_path, SilentReporter())


@pytest.mark.parametrize("content", [CONTENT[::-1], b"<html>please log in</html>"])
def test_another_file_is_refused(tmp_path: Path, server: Server, content: bytes) -> None:
    server.files = {NAME: content}
    with pytest.raises(DataError, match=f"download {NAME} .* yourself") as caught:
        download(remote(nobody(), server.url), tmp_path, SilentReporter())
    assert not isinstance(caught.value, UnreachableError)
    assert list(tmp_path.iterdir()) == []


def test_a_length_that_is_no_number(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = urllib.request.urlopen

    def odd(*arguments: Any, **settings: Any) -> Any:
        response = answer(*arguments, **settings)
        response.headers.replace_header("Content-Length", "abc")
        return response

    monkeypatch.setattr(urllib.request, "urlopen", odd)
    with pytest.raises(DataError, match="offers 'abc' bytes"):
        download(remote(server.url), tmp_path, SilentReporter())


def test_a_silent_server_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        with pytest.raises(UnreachableError, match="timed out"):
            download(remote(url), tmp_path, SilentReporter())


def test_a_damaged_finished_file_is_fetched_again(tmp_path: Path, server: Server) -> None:
    (tmp_path / NAME).write_bytes(CONTENT[:-1])
    fetch(remote(server.url), tmp_path)


def test_size_belongs_to_the_published_file(tmp_path: Path, server: Server) -> None:
    longer = dataclasses.replace(remote(server.url), size=len(CONTENT) + 1)
    with pytest.raises(DataError, match="offers 512,000 bytes, the published file has 512,001"):
        download(longer, tmp_path, SilentReporter())
