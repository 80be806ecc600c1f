"""Build a net, and load its weights, in a forked process first: what ends that one ends no other.

Caffe's CHECKs, and what HDF5 and protobuf do about damaged files, end a process.
"""

import os
import re
import select
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import caffe

from caffe_ext.runtime.forked import fork_child
from caffe_ext.runtime.quiet import log_level

_GLOG = re.compile(r"(?P<severity>[IWEF])\d{4,8} [\d:.]+ +\d+ \S+:\d+\] (?P<text>.*)")
_CREATING = "creating layer "
_RESHAPING = "with another number of images"
_LOADING = "with the weights"
_CAFFE_SAYS = "caffe: "
_BUILT = b"+"
_PATIENCE = 180.0  # seconds


@cache
def check_builds(text: str, batch_size: int = 1) -> None:
    """Raise ValueError, with Caffe's reason, unless Caffe can build the net of a prototxt's text.

    batch_size  most images in the net at a time: with one and, if there are to be more, with two it
                is tried, too, if it has one input

    What can be built is not tried again. Where there can be no further process nothing is checked.
    """

    def reshape(net: Any) -> None:
        if len(net.inputs) == 1:
            print(_RESHAPING)
            blob = net.blobs[net.inputs[0]]
            for images in range(1, min(2, batch_size) + 1):
                blob.reshape(images, *list(blob.shape)[1:])
                net.reshape()

    _attempt(text, reshape)


def check_loads(text: str, weights: Path) -> None:
    """Raise ValueError, with Caffe's reason, unless Caffe can load weights into the net of a text.

    What can be loaded is not tried again until the file changes.
    """
    status = weights.stat()
    _check_loads(text, weights, status.st_mtime_ns, status.st_size)


@cache
def _check_loads(text: str, weights: Path, *_: int) -> None:
    def load(net: Any) -> None:
        print(_LOADING)
        net.copy_from(str(weights))

    _attempt(text, load)


def _attempt(text: str, then: Callable[[Any], None]) -> None:
    """Build the net of a text in a child, and do something with it; ValueError with the reason."""
    with TemporaryDirectory() as folder:
        deploy, log = Path(folder) / "deploy.prototxt", Path(folder) / "log"
        deploy.write_text(text, encoding="utf-8")
        log.touch()
        reader, writer = os.pipe()
        try:
            child = fork_child(lambda: _build(deploy, then, log, writer))
        except OSError:
            os.close(reader)
            return
        finally:
            os.close(writer)
        if not _built(child, reader):
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
            raise ValueError(_reason(lines) or "the attempt ended without a word")


def _build(deploy: Path, then: Callable[[Any], None], log: Path, writer: int) -> None:
    """Work in the child, with all that is said in the log."""
    try:
        file = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        level = log_level()
        if level is not None:
            level.value = 0  # the log names the layers
        caffe.set_mode_cpu()
        then(caffe.Net(str(deploy), caffe.TEST))
        os.write(writer, _BUILT)
    except caffe.Error as error:  # it names the layer
        text = str(error).replace(f"{deploy}, ", "").replace(f"{deploy}:", "line ")
        os.write(2, f"{_CAFFE_SAYS}{text}\n".encode())
    except BaseException as error:  # whatever it is, the log is where it is told
        os.write(2, f"{type(error).__name__}: {error}\n".encode())


def _built(child: int, reader: int) -> bool:
    """Return whether a child says that it has built its net; end it where the waiting is ended.

    True, too, for a child that takes minutes: it has said nothing against the net. Its status is
    not asked for: where SIGCHLD is ignored there is none.
    """
    answered = False
    try:
        answers = select.poll()
        answers.register(reader, select.POLLIN)
        answered = bool(answers.poll(1000 * _PATIENCE))
        return not answered or os.read(reader, 1) == _BUILT
    finally:
        os.close(reader)
        if not answered:
            os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def _reason(lines: list[str]) -> str:
    """Return what a log says of the end: the layer, and glog's last message or the last line."""
    where, reason, last = "", "", ""
    for line in lines:
        found = _GLOG.fullmatch(line)
        if line in (_RESHAPING, _LOADING):
            where = line if line == _RESHAPING else ""
        elif line.startswith(_CAFFE_SAYS):
            reason = line.removeprefix(_CAFFE_SAYS)
            where = where if where == _RESHAPING else ""
            break
        elif not found:
            last = line.strip() or last
        elif found["severity"] == "F":
            reason = found["text"].strip()
            break
        elif found["text"].lower().startswith(_CREATING):
            where = f"layer '{found['text'][len(_CREATING) :].strip()}'"
    reason = reason or last
    return f"{where}: {reason}" if where and reason else reason
