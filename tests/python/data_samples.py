"""Small stand-ins for the published data sets, and for the network, shared by test_data_*.py."""

import gzip
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import lmdb
import numpy as np
from numpy.typing import NDArray

from caffe_ext.data import ImageSet, idx
from caffe_ext.data.cifar import BATCHES
from caffe_ext.data.collection import Collection, RemoteFile
from caffe_ext.data.digest import compute_md5
from caffe_ext.data.mnist import NAMES

CHECKOUT = Path(__file__).resolve().parents[2]
TOOL = CHECKOUT / "tools" / "get_data.py"


def image_set(count: int, shape: tuple[int, int, int] = (1, 28, 28), seed: int = 0) -> ImageSet:
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    return ImageSet(images, random.integers(0, 10, count), "a test")


def mnist_arrays(train: int = 60, test: int = 20, seed: int = 0) -> dict[str, NDArray[np.uint8]]:
    """Return what MNIST's four files hold, by their names."""
    parts = (image_set(train, seed=seed), image_set(test, seed=seed + 1))
    arrays = [a for p in parts for a in (p.images[:, 0], p.labels.astype(np.uint8))]
    return dict(zip(NAMES, arrays, strict=True))


def write_mnist(folder: Path, *, packed: bool = False, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in mnist_arrays(seed=seed).items():
        content = idx.encode(values)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


def cifar_batches(records: int, seed: int = 0) -> dict[str, bytes]:
    random = np.random.default_rng(seed)
    batches = {}
    for name in BATCHES:
        batch = random.integers(0, 256, (records, 3073), dtype=np.uint8)
        batch[:, 0] %= 10
        batches[name] = batch.tobytes()
    return batches


def records(folder: Path) -> dict[bytes, bytes]:
    """Return every record of an LMDB as it lies there."""
    with lmdb.open(str(folder), readonly=True, lock=False) as env, env.begin() as transaction:
        return dict(transaction.cursor())


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its content, but for the locks that readers make."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock.mdb"
    }


def nobody() -> str:
    """Return an address on this machine at which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def elsewhere(collection: Collection, url: str, files: Mapping[str, bytes]) -> Collection:
    """Return the collection with these files, at this address, in place of its public homes."""
    remotes = tuple(
        RemoteFile(name, len(content), compute_md5(content), (url + name,))
        for name, content in files.items()
    )
    return replace(collection, remotes=remotes)


def packed_mnist() -> dict[str, bytes]:
    """Return the files of a small MNIST as its homes offer them."""
    return {
        f"{name}.gz": gzip.compress(idx.encode(values)) for name, values in mnist_arrays().items()
    }


@dataclass
class Server:
    """An HTTP server on this machine that keeps a log of what was asked of it.

    break_after   close the connection after that many bytes of each answer
    ranges        whether it honours the Range header
    """

    files: Mapping[str, bytes]
    break_after: int | None = None
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        name, span = handler.path.lstrip("/"), handler.headers.get("Range")
        self.asked.append((name, span))
        if name not in self.files:
            handler.send_error(404)
            return
        content = self.files[name]
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and self.ranges else 0
        if start:
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            handler.send_response(200)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        stop = None if self.break_after is None else start + self.break_after
        handler.wfile.write(content[start:stop])


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output free of it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}/"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()
